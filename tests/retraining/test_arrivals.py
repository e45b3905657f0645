"""When rows without time came true: the night that saw them first."""

import pandas as pd

from include.retraining.monitor.arrivals import arrivals_of, with_arrivals
from include.retraining.monitor.rows import DELIVERED
from tests.retraining.monitored import CHURN, customers, day

COLUMNS = CHURN.columns


def test_a_row_keeps_the_night_that_saw_it_first_whatever_becomes_of_it() -> None:
    _, rows = customers(30)
    first = with_arrivals(rows.head(10), None, COLUMNS, day(0))
    assert first[DELIVERED].isna().all()
    second = with_arrivals(rows.head(20), arrivals_of(first, COLUMNS), COLUMNS, day(1))
    assert second[DELIVERED].isna().sum() == 10
    assert set(second[DELIVERED].iloc[10:]) == {day(1)}
    corrected = pd.concat([rows, rows.head(15).assign(Left=0.5)]).sample(frac=1, random_state=1)
    third = with_arrivals(corrected, arrivals_of(second, COLUMNS), COLUMNS, day(2))
    told = third.drop_duplicates("Customer").set_index("Customer")[DELIVERED].sort_index()
    assert told.iloc[:10].isna().all()
    assert list(told.iloc[10:]) == [day(1)] * 10 + [day(2)] * 10
    assert len(arrivals_of(third, COLUMNS)) == 30
    assert third.drop(columns=DELIVERED).equals(corrected)


def test_a_row_that_was_withdrawn_comes_anew() -> None:
    _, rows = customers(4)
    first = arrivals_of(with_arrivals(rows, rows.assign(**{DELIVERED: day(0)}), COLUMNS, day(3)), COLUMNS)
    assert set(first[DELIVERED]) == {day(0)}
    withdrawn = rows.assign(Left=rows["Left"].where(rows["Customer"] != 2))
    second = arrivals_of(with_arrivals(withdrawn, first, COLUMNS, day(4)), COLUMNS)
    assert list(second["Customer"]) == [0, 1, 3]
    third = with_arrivals(rows, second, COLUMNS, day(5))
    assert list(third[DELIVERED]) == [day(0), day(0), day(5), day(0)]


def test_keys_of_another_type_are_other_rows() -> None:
    _, rows = customers(3)
    before = arrivals_of(with_arrivals(rows, None, COLUMNS, day(0)), COLUMNS)
    texts = rows.assign(Customer=rows["Customer"].astype(str))
    assert set(with_arrivals(texts, before, COLUMNS, day(1))[DELIVERED]) == {day(1)}
    nobody = with_arrivals(rows.iloc[:0], before, COLUMNS, day(1))
    assert len(nobody) == 0
    assert str(nobody[DELIVERED].dtype) == "datetime64[ns]"
