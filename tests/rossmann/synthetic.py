"""A small chain of stores in the shape of the Rossmann files, for tests of the forecast alone."""

import numpy as np
import pandas as pd

FIRST_DAY = pd.Timestamp("2013-01-01")


def store_frame(stores: int = 8) -> pd.DataFrame:
    """Store table with every kind of missing entry."""
    number = np.arange(1, stores + 1)
    promo2 = (number % 2 == 1).astype(int)
    return pd.DataFrame(
        {
            "Store": number,
            "StoreType": [("a", "b", "c", "d")[n % 4] for n in number],
            "Assortment": [("a", "c")[n % 2] for n in number],
            "CompetitionDistance": np.where(number == 3, np.nan, number * 350.0),
            "CompetitionOpenSinceMonth": np.where(number % 3 == 0, np.nan, 1.0 + number % 12),
            "CompetitionOpenSinceYear": np.where(number % 3 == 0, np.nan, 2010.0 + number % 6),
            "Promo2": promo2,
            "Promo2SinceWeek": np.where(promo2 == 1, 14.0, np.nan),
            "Promo2SinceYear": np.where(promo2 == 1, 2013.0, np.nan),
            "PromoInterval": [("", "Jan,Apr,Jul,Oct", "", "Mar,Jun,Sept,Dec")[n % 4] or None for n in number],
        }
    )


def history_frame(stores: int = 8, days: int = 560, seed: int = 7) -> pd.DataFrame:
    """History with week, year, promo and holiday effects, a gap, a closure and noise of 8 percent."""
    random = np.random.default_rng(seed)
    dates = pd.date_range(FIRST_DAY, periods=days)
    frame = pd.MultiIndex.from_product([np.arange(1, stores + 1), dates], names=["Store", "Date"]).to_frame(index=False)
    day, weekday = (frame["Date"] - FIRST_DAY).dt.days.to_numpy(), frame["Date"].dt.dayofweek.to_numpy()
    store = frame["Store"].to_numpy()
    holiday = np.isin(frame["Date"].dt.strftime("%m-%d"), ["01-01", "05-01", "10-03", "12-25", "12-26"])
    closed = ((weekday == 6) & (store != 1)) | (holiday & (store != 2)) | ((store == 4) & (day >= 400) & (day < 412))
    promo = ((day // 7) % 2 == 0) & (weekday < 5)
    log_sales = (
        8.3 + 0.1 * store - 0.03 * weekday + 0.3 * promo + 0.12 * np.cos(2 * np.pi * (day - 350) / 365.25)
        + random.normal(0, 0.08, len(frame))
    )  # fmt: skip
    sales = np.where(closed, 0, np.round(np.exp(log_sales))).astype(int)
    frame["Sales"] = sales
    frame["Customers"] = np.where(closed, 0, np.round(sales / (8 + 0.2 * store))).astype(int)
    frame["Open"] = (~closed).astype(int)
    frame["Promo"] = promo.astype(int)
    frame["StateHoliday"] = np.where(holiday, "a", "0")
    frame["SchoolHoliday"] = np.isin(frame["Date"].dt.month, [8]).astype(int)
    gap = (store == 5) & (day >= 200) & (day < 260)
    return frame[~gap].sort_values(["Date", "Store"], ascending=[False, True], ignore_index=True)


def schedule_of(history: pd.DataFrame) -> pd.DataFrame:
    """Return rows as they come to be forecast: without Sales and Customers."""
    return history.drop(columns=["Sales", "Customers"])
