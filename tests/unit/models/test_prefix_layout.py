"""Who may look where, by hand."""

from triptych.models.prefix_layout import Group, shared_prefix_mask


def test_mask_by_hand() -> None:
    longer, shorter = shared_prefix_mask((Group(2, (2, 1)), Group(1, (2,)))).int().tolist()
    assert longer == [
        [
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
            [1, 1, 0, 0, 1],
        ]
    ]
    assert shorter == [
        [
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 0, 1],
        ]
    ]


def test_length_counts_the_prompt_once() -> None:
    assert Group(7, (3, 1)).length == 11
