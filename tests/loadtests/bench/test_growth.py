from loadtests.bench.growth import Round, table


def test_growth_is_beside_plain_vllms_in_the_same_round() -> None:
    plain_s = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 2.0]
    rounds = [Round([2 * second for second in plain_s], plain_s), Round([*plain_s[:-1], 3.0], plain_s)]
    shown = table(rounds)
    assert [list(column.cells)[-1] for column in shown.columns] == [
        "64", "3.500", "2.000", "2.50", "2.00", "1.25", "1.00 - 1.50", "no",
    ]  # fmt: skip
    assert list(shown.columns[5].cells)[:-1] == ["1.00"] * 6
