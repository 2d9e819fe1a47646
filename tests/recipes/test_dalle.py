import pytest
import torch

from minilib.data.people.attributes import draw, seen
from minilib.data.people.captions import captions
from minilib.data.people.dataset import people
from minilib.models.dalle import DALLE, DALLEConfig
from minilib.models.dvae import DVAE, DVAEConfig
from minilib.recipes import dalle
from minilib.recipes.dalle import (
    people_in_tokens,
    people_tokens,
    sample_people,
    score_people,
)
from minilib.text.words import END, PADDING, START, split


@pytest.fixture
def dvae(monkeypatch):
    """A small discrete VAE without training in the place of the shipped one."""
    torch.manual_seed(0)
    model = DVAE(DVAEConfig(codes=9, width=16, blocks=1)).eval()
    monkeypatch.setattr(dalle, "people_dvae", lambda: model)
    return model


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = DALLEConfig(len(people_tokens()), codes=9, width=16, depth=1, heads=2)
    return DALLE(sizes).eval()


# ---------- captions ----------


def test_a_caption_is_a_token_a_word():
    texts = captions(draw(500, 1, "test"), 1, "personas", 32)
    texts += captions(draw(500, 2, "held_out"), 2, "personas", 32)
    tokens = people_tokens().encode(texts)
    assert tokens.shape == (1_000, 32)
    lengths = (tokens != PADDING).sum(dim=1) - 2
    assert lengths.tolist() == [len(split(text)) for text in texts]
    assert (tokens[:, 0] == START).all()
    assert ((tokens == END).sum(dim=1) == 1).all()
    assert people_tokens().decode(tokens) == texts


def test_the_vocabulary_is_that_of_the_shipped_weights():
    tokens = people_tokens()
    assert len(tokens) == 447
    expected = {259: " a", 300: " wearing", 400: " afr", 446: " hat"}
    found = {i: tokens.decode(torch.tensor([[i]]))[0] for i in expected}
    assert found == expected
    assert tokens.encode([""])[0, :3].tolist() == [START, END, PADDING]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a smiling person", "32 × 32 pixels doesn't show as mood: say grinning"),
        ("a person with closed eyes", "doesn't show as eyes: say nothing of it"),
        ("a person with a hat of stone", "meant by 'hat', 'of' and 'stone'"),
        ("a person with sunglases", "did you mean 'sunglasses' or 'glasses'"),
        (
            "a smiling person with closed eyes and black hair",
            "says 'closed' and 'smiling', which a person of 32 × 32 pixels doesn't "
            "show as eyes: say nothing of it; as mood: say grinning, surprised",
        ),
        ("a red cap and a blue cap", "two things of one person"),
        ("a person with " + "a " * 40, "at most 30 fit"),
    ],
)
def test_captions_of_what_cannot_be_drawn_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        people_tokens().encode(["a person", text])


def test_one_text_in_place_of_a_list_is_refused():
    with pytest.raises(ValueError, match="put it into a list"):
        people_tokens().encode("a red cap")


# ---------- training, drawing, scoring ----------


def test_training_sees_captions_beside_their_pictures_in_tokens(dvae):
    text, image = people_in_tokens(5, 3)
    x, texts, _ = people(5, 3, "train", "personas", 32)
    assert people_tokens().decode(text) == texts
    assert torch.equal(image, dvae.tokens(x))
    assert image.shape == (5, 64)


def test_people_whose_captions_are_too_long_are_left_out(dvae, monkeypatch):
    x, texts, _ = people(20, 3, "train", "personas", 32)
    sizes = [len(people_tokens().bpe.encode(text)) for text in texts]
    room = sorted(sizes)[10]
    monkeypatch.setattr(people_tokens(), "length", room + 2)
    text, image = people_in_tokens(20, 3)
    short = [i for i, size in enumerate(sizes) if size <= room]
    assert 11 <= len(short) < 20
    assert people_tokens().decode(text) == [texts[i] for i in short]
    assert torch.equal(image, dvae.tokens(x[short]))


def test_pictures_are_what_the_tokens_stand_for(dvae, model, monkeypatch):
    told = {}

    def drawn(model, text, generator, **settings):
        told.update(settings, text=text, generator=generator)
        return torch.arange(len(text))[:, None].expand(-1, 64)

    monkeypatch.setattr(dalle, "draw_tokens", drawn)
    g, y = torch.Generator(), people_tokens().encode(["a red cap", "a yellow beanie"])
    x = sample_people(model, 2, g, y, w=3.0, top_p=0.9, progress="tokens")
    assert torch.equal(x, dvae.decode_tokens(torch.tensor([[0] * 64, [1] * 64])))
    assert torch.equal(told.pop("text"), y)
    assert told == {"generator": g, "w": 3.0, "top_p": 0.9, "progress": "tokens"}


def test_without_a_prompt_the_captions_of_test_people_are_drawn(dvae, model):
    x = sample_people(model, 3, torch.Generator().manual_seed(0))
    texts = people(3, 1, "test", "personas", 32)[1]
    y = people_tokens().encode(texts)
    again = sample_people(model, 3, torch.Generator().manual_seed(0), y)
    assert x.shape == (3, 3, 32, 32)
    assert torch.equal(x, again)


def test_people_drawn_as_told_score_one(model, monkeypatch):
    x, texts, who = people(40, 2, "held_out", "personas", 32)

    def drawn(model, n, generator, y):
        assert people_tokens().decode(y) == texts
        return x

    def judged(judge, pictures):
        assert torch.equal(pictures, x)
        return [seen(person, "personas", 32) for person in who]

    monkeypatch.setattr(dalle, "sample_people", drawn)
    monkeypatch.setattr(dalle, "load_pretrained", lambda network, name: network)
    monkeypatch.setattr(dalle, "judged", judged)
    assert score_people(model, 40) == {"claims": 1, "caption": 1}
    who.append(who.pop(0))
    wrong = score_people(model, 40)
    assert wrong["caption"] < 0.1
    assert 0.1 < wrong["claims"] < 0.5
