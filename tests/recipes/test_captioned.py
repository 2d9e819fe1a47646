"""The words that tokenizers take are those that the captions of training hold."""

from minilib.data.portraits import captions as portrait_captions
from minilib.data.portraits import drawing as portraits
from minilib.data.scenes import captions as scene_captions
from minilib.data.scenes import drawing as scenes
from minilib.recipes import captioned, clip
from minilib.text.words import split


def words(texts):
    return {word for text in texts for word in split(text)}


def test_known_words_are_those_that_captions_hold():
    people, drawn = portraits.draw(600, 0), scenes.draw(3_000, 0)
    pairs = list(zip(people[::2], people[1::2], strict=True))
    alone = words(portrait_captions.captions(people, 0))
    two = words(portrait_captions.pair_captions(pairs, 0))
    apart = words(scene_captions.captions(drawn, 0))
    assert set(captioned.one_portrait_tokens().heard()) == alone
    assert set(captioned.portrait_tokens().heard()) == alone | two
    assert set(captioned.scene_tokens().heard()) == apart
    assert set(clip.world_tokens().heard()) == alone | two | apart


def test_words_that_are_refused_keep_the_others_tokens():
    # the shipped weights were trained with these numbers
    one, both = captioned.one_portrait_tokens(), captioned.portrait_tokens()
    assert one.token == both.token
    assert len(one) == len(both) == 3 + len(portrait_captions.words())


def test_what_to_say_in_place_of_a_word_is_known():
    for tokens in (captioned.one_portrait_tokens(), captioned.scene_tokens()):
        assert set(tokens.unheard) <= set(tokens.words)
        assert {word for word in tokens.unheard.values() if word} <= set(tokens.heard())
