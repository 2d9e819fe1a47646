"""The helpers of chapter 13's claims, where the right answer is known."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from minilib.data.people.attributes import draw, hidden_in
from minilib.data.people.captions import captions
from minilib.data.people.drawing import render
from minilib.experiments import dalle as chapter
from minilib.experiments import dalle_parts as parts
from minilib.experiments.experiment import Size
from minilib.models.dalle import DALLE, DALLEConfig, dalle_loss
from minilib.recipes.clip_people import captioned_people
from minilib.recipes.dalle import dalle_people, people_dvae
from minilib.text.bpe_training import train
from minilib.weights import load_pretrained


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------- byte pair encoding ----------


def test_the_plain_loop_does_what_can_be_done_by_hand():
    found = parts.plain_merges(["ab ab cd cd cd xy xy"], 100)
    assert found == [
        (b"c", b"d"),  # three times
        (b" ", b"cd"),
        (b"a", b"b"),  # twice, as the others
        (b"x", b"y"),
        (b" ", b"xy"),
    ]
    assert parts.plain_merges(["aaaaa aaaaa"], 1) == [(b"a", b"a")]
    found = parts.plain_merges(["abcdefg abcdefg"], 3)
    assert found == [(b"a", b"b"), (b"c", b"d"), (b"e", b"f")]  # before what is newer
    assert parts.plain_merges(["abcdefg", "äö"], 3) == []


def test_a_token_takes_the_place_of_a_pair_from_the_left():
    words = [[7, 7, 7], [7, 7, 7, 7], [1, 7, 2, 7], [7], []]
    for word in words:
        parts.join(word, (7, 7), 9)
    assert words == [[9, 7], [9, 9], [1, 7, 2, 7], [7], []]
    parts.join(words[2], (7, 2), 9)
    assert words[2] == [1, 9, 7]


def test_pairs_are_counted_as_often_as_their_word_occurs():
    counts = parts.pair_counts([([1, 2, 1, 2], 3), ([2, 1], 1), ([5], 9)])
    assert counts == {(1, 2): 6, (2, 1): 4}


def test_what_is_left_when_training_stops():
    texts = ["hat hat hut", "hut hit hit"]
    assert parts.most_frequent_left(train(texts, 1_000), texts) == 1
    assert parts.most_frequent_left(train(texts, 259), texts) == 4  # h after a space
    assert parts.most_frequent_left(train(["a a"], 300), ["a b"]) == 1
    assert parts.most_frequent_left(train(["a a"], 300), ["a"]) == 0


def test_any_texts_are_any():
    found = parts.any_texts(300, 0)
    assert len(found) == 600
    assert found == parts.any_texts(300, 0) != parts.any_texts(300, 1)
    assert max(map(len, found[1::2])) == 100
    assert b"" in found
    points = [ord(c) for one in found[::2] for c in one.decode()]
    assert max(points) > 0x10F000
    assert sum(0xD000 <= p < 0xD800 for p in points) > 0  # next to the surrogates
    broken = 0
    for one in found[1::2]:
        broken += one.decode("utf-8", "replace").encode() != one
    assert broken > 200


def test_ties_among_the_merges_that_are_compared_decide_their_order():
    """Otherwise equal merges would say nothing about ties."""
    text = chapter.corpus.text()[:5_000]
    merges, pieces = parts.plain_merges([text], 70), Counter(parts.gpt2_pieces(text))
    counts = []
    for i in range(60, 70):
        bpe = train(text, 256 + i, special=[])
        pairs = parts.pair_counts(
            [(bpe.encode_piece(piece), n) for piece, n in pieces.items()]
        )
        best = max(pairs.values())
        counts.append(sum(count == best for count in pairs.values()))
        first = min(pair for pair, count in pairs.items() if count == best)
        assert (bpe.tokens[first[0]], bpe.tokens[first[1]]) == merges[i]
    assert max(counts) > 1


def test_the_claim_of_byte_pairs_is_shown_and_notices_another_merge(monkeypatch):
    measured = chapter.byte_pairs(0, Size.LIVE)
    assert measured == dict.fromkeys(measured, 0)
    assert chapter.DALLE_2.claim([measured], {}).outcome == "shown"
    plain = parts.plain_merges

    def other(texts, room):
        merges = plain(texts, room)
        return [*merges[:3], merges[4], merges[3], *merges[5:-1]]

    monkeypatch.setattr(chapter, "plain_merges", other)
    wrong = chapter.byte_pairs(0, Size.LIVE)
    assert (wrong[chapter.MERGES], wrong[chapter.UNTIL_ONCE]) == (3, 3)
    assert chapter.DALLE_2.claim([wrong], {}).outcome != "shown"


def test_a_trainer_that_stops_too_soon_is_noticed(monkeypatch):
    def early(texts, size, **settings):
        return train(texts, min(size, 280), **settings)

    monkeypatch.setattr(chapter, "train", early)
    measured = chapter.byte_pairs(0, Size.LIVE)
    assert measured.pop(chapter.ROUND_TRIP) == 0
    assert min(measured.values()) > 0


# ---------- one network ----------


@pytest.fixture
def network():
    """A small DALL·E without training, of the codes and captions of people."""
    torch.manual_seed(0)
    sizes = DALLEConfig(len(parts.people_tokens()), width=16, depth=1, heads=2)
    return DALLE(sizes).eval()


def test_who_is_held_out_has_a_pair_that_training_never_showed():
    people = parts.held_out(6, 61)
    who = draw(6, 61, "held_out")
    assert people.texts == captions(who, 61, "personas", 32)
    assert torch.equal(people.text, parts.people_tokens().encode(people.texts))
    assert torch.equal(people.image, people_dvae().tokens(render(who, size=32)))
    assert all(hidden_in(person) for person in who)


def test_nats_of_a_picture_by_who_knows_nothing_or_all():
    image = torch.randint(512, (3, 64), generator=generator())
    text = torch.zeros(3, 32, dtype=torch.long)
    nothing = parts.nats(lambda y, z: (None, torch.zeros(len(z), 64, 512)), text, image)
    assert nothing == pytest.approx([64 * math.log(512)] * 3)

    def half(y, z):  # sure of the first 32
        logits = torch.zeros(len(z), 64, 512)
        logits[:, :32] = 1e9 * F.one_hot(z[:, :32], 512)
        return None, logits

    assert parts.nats(half, text, image) == pytest.approx([32 * math.log(512)] * 3)


def test_shares_of_claims(monkeypatch):
    answers = [{"hat": "cap", "hat_colour": "red", "skin": None}] * 4
    monkeypatch.setattr(parts, "judge", lambda: None)
    monkeypatch.setattr(parts, "judged", lambda model, x: answers)
    texts = ["a red cap", "a blue cap", "a blue cap, dark skin", "a person"]
    assert parts.shares(torch.zeros(4, 3, 32, 32), texts) == [1, 1 / 2, 1 / 3, 1]


def test_each_caption_is_drawn_k_times(network, monkeypatch):
    text = torch.arange(3)[:, None].expand(3, 32)
    seeds = []

    def sample(model, n, generator, y):
        assert n == len(y) == 6
        seeds.append(generator.initial_seed())
        return y[:, :1, None, None] + torch.tensor([0.0, 0.5] * 3)[:, None, None, None]

    monkeypatch.setattr(parts, "sample_people", sample)
    x = parts.drawn(network, text, 2, seed=5)
    assert x[:, :, 0, 0, 0].tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    assert seeds == [5]


def test_the_best_is_the_one_that_clip_finds_nearest():
    x, texts = captioned_people(12, 9, "test")
    text = parts.people_tokens().encode(texts)
    sheets = torch.stack([x.roll(i, dims=0) for i in (1, 5, 0, 3)], dim=1)
    assert torch.equal(sheets[:, 2], x)
    best = parts.best_by_clip(sheets, text)
    own = (best == x).flatten(1).all(dim=1)
    assert own.float().mean() > 0.8


def test_the_painter_of_seed_0_ships_and_others_are_trained(network, monkeypatch):
    parts.painter.cache_clear()
    assert torch.equal(
        parts.painter(0).text_embed.weight,
        load_pretrained(dalle_people.model(), "dalle_people").text_embed.weight,
    )
    told = {}

    def train(**options):
        told.update(options)
        return SimpleNamespace(ema=network)

    recipe = SimpleNamespace(full=9, train=train)
    monkeypatch.setattr(parts, "dalle_people", recipe)
    assert parts.painter(3) is network
    assert told == {"steps": 9, "seed": 3, "progress": False}
    parts.painter.cache_clear()


def test_what_is_compared_of_one_network(monkeypatch):
    """Captions 0 to 3; the picture of caption i is i, and a draw of it i or -1."""
    text = torch.arange(1, 5)[:, None].expand(4, 32)
    people = parts.HeldOut(["0", "1", "2", "3"], text, text)
    monkeypatch.setattr(chapter, "painter", lambda seed: f"network {seed}")
    monkeypatch.setattr(chapter, "held_out", lambda n, seed: people)

    def nats(model, text, image):
        assert model == "network 0"
        null = (text[:, 1:] != text[:, :1]).any(dim=1)
        return torch.where(null, 20, 10 + 9 * (text != image)[:, 0]).tolist()

    def drawn(model, text, k, seed):
        assert (k, seed) == (8, 0)
        x = torch.full((4, k), -1)
        x[:, 5] = torch.arange(4)
        x[:2, 0] = torch.arange(2)
        return x

    monkeypatch.setattr(chapter, "nats", nats)
    monkeypatch.setattr(chapter, "drawn", drawn)
    monkeypatch.setattr(chapter, "best_by_clip", lambda x, text: x[:, 5])
    monkeypatch.setattr(
        chapter,
        "shares",
        lambda x, texts: [
            1.0 if i == int(text) else 0.5 for i, text in zip(x, texts, strict=True)
        ],
    )
    measured = chapter.one_sequence(0, Size.QUICK)
    assert measured[chapter.HELPED] == ([20] * 4, [10] * 4)
    assert measured[chapter.MISLED] == ([19] * 4, [20] * 4)
    assert measured[chapter.OBEYS] == ([1, 1, 0.5, 0.5], [0.5] * 4)
    assert measured[chapter.RERANKED] == ([1] * 4, [1, 1, 0.5, 0.5])
    assert measured[chapter.WHOLE] == ([1] * 4, [1, 1, 0, 0])


# ---------- networks that saw more pictures or fewer ----------


class NoDraw:
    """No caption is dropped."""

    def uniform(self, *shape):
        return torch.ones(*shape)


def test_the_loss_of_image_tokens_is_what_the_text_does_not_add(network):
    image = torch.randint(512, (3, 64), generator=generator())
    text = parts.people_tokens().encode(["a red cap", "a beard", "a green t-shirt"])
    both, image_alone = (
        loss(network, text, image, draw=NoDraw(), p_uncond=0.1)
        for loss in (dalle_loss, parts.image_loss)
    )
    said = network(text, image)[0].transpose(1, 2)
    of_text = F.cross_entropy(said, text[:, 1:])
    assert both.item() == pytest.approx((of_text + 7 * image_alone).item() / 8)
    assert of_text.item() != pytest.approx(image_alone.item(), rel=1e-3)


def test_of_more_people_the_first_are_the_same():
    some, more = parts.crowd(3, 300), parts.crowd(5, 300)
    for few, many in zip(some, more, strict=True):
        assert torch.equal(few, many[:3])


@pytest.fixture
def few_tokens(monkeypatch):
    """Pictures and captions in tokens out of thin air; of seed 301 the first 40 only
    are tokens, so that nobody can train on the others.
    """

    def crowd(n, seed):
        g = generator(seed)
        text, image = (torch.randint(3, 400, (n, k), generator=g) for k in (32, 64))
        if seed == 301:
            image[40:] = -1
        return text, image

    monkeypatch.setattr(parts, "crowd", crowd)


def test_a_network_trains_on_its_own_pictures_and_loss(few_tokens):
    arm = parts.Arm(parts.NARROW, 40)
    first, again, other, alone = (
        parts.trained(one, 640, 2, seed).text_embed.weight
        for one, seed in (
            (arm, 1),
            (arm, 1),
            (arm, 0),
            (arm._replace(text_too=False), 1),
        )
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, alone)
    with pytest.raises(ValueError, match="image tokens from 0 to 511"):
        parts.trained(arm._replace(pictures=640), 640, 2, 1)


def test_a_wider_network_is_eleven_times_as_large(few_tokens):
    sizes = [
        sum(p.numel() for p in parts.trained(parts.Arm(w, 40), 40, 1, 0).parameters())
        for w in (parts.NARROW, parts.WIDE)
    ]
    assert sizes == [84_128, 926_336]


def test_what_is_compared_of_several_networks(monkeypatch):
    """A network is its arm; its nats are 900 / width + 900 / pictures, and as many
    more without the text's loss; its pictures are as wide as it is.
    """
    people = parts.HeldOut([str(i) for i in range(1_000)], torch.zeros(1_000, 32), None)
    monkeypatch.setattr(chapter, "held_out", lambda n, seed: people)
    monkeypatch.setattr(chapter, "trained", lambda arm, most, steps, seed: arm)

    def nats(arm, text, image):
        worse = 1 if arm.text_too else 2
        return [worse * (900 / arm.width + 900 / arm.pictures)] * 3

    def drawn(arm, text, k, seed):
        assert (len(text), k, seed) == (200, 1, 2)
        return torch.full((200, 1), arm.width)

    def shares(x, texts):
        assert texts == people.texts[:200]
        return (x / 128).tolist()

    for name, value in {"nats": nats, "drawn": drawn, "shares": shares}.items():
        monkeypatch.setattr(chapter, name, value)
    few, many, narrow, wide = 900 / 800, 900 / 12_800, 900 / 32, 900 / 128
    assert chapter.what_limits(2, Size.QUICK) == {
        chapter.MORE_DATA: pytest.approx((narrow + few, narrow + many)),
        chapter.MORE_DATA_WIDE: pytest.approx((wide + few, wide + many)),
        chapter.NOT_WIDTH: pytest.approx((wide + few, narrow + many)),
        chapter.NOT_LOSS: pytest.approx((2 * (narrow + few), narrow + many)),
        chapter.CLAIMS: (0.25, 1),
    }
