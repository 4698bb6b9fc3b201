"""What a header cell means by its words."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from stockrnn.prices.vocabulary import ROLES, WORDS

_COMMA_LANGUAGES = "pt es de fr it tr ru pl nl vi id da sv ro fi el cs hu uk bg no hr"
COMMA_LANGUAGES = frozenset(_COMMA_LANGUAGES.split())
"""Languages that write 1.234,56."""


@dataclass(frozen=True)
class Word:
    """What a header word means: its role, how sure (0 is the surest) and its language."""

    role: str
    rank: int
    language: str


_FOLDED = {ord("ı"): "i", ord("ł"): "l", ord("ø"): "o", ord("đ"): "d"}
"""Letters whose strokes and missing dots no normal form knows."""


_PLAIN = re.compile("[a-z]+(?: [a-z]+)*")
_MOST_LETTERS = 4000
"""What follows them in a cell, which may be all of a damaged file, is not looked at: five million letters take a second."""


def normalise(header: str) -> str:
    """A header as it is looked up: `<CLOSE>`, `4. close`, `Close*` and `close ` are all `close`; `adjClose` is `adj close`."""
    if _PLAIN.fullmatch(header):  # as most words of the table are
        return header
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", unicodedata.normalize("NFKC", header[:_MOST_LETTERS]))
    text = unicodedata.normalize("NFKD", text)
    text = unicodedata.normalize("NFKC", "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cc", "Cf")))
    text = re.sub(r"^\s*\d+\s*[.)]\s*(?=\D)|(?<=[a-z])\.\d+$", "", text.casefold().translate(_FOLDED))
    stripped = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", " ", text)
    text = re.sub(r"[\s_.\-:/*<>\"'#|]+", " ", stripped if stripped.strip() else text).strip()
    return re.sub(r"(?<=[\u3040-\u9fff\uac00-\ud7a3]) (?=[\u3040-\u9fff\uac00-\ud7a3])", "", text)


_LONGEST = 200
"""A longer header is no word."""


@functools.cache
def _word_table() -> dict[str, tuple[Word, ...]]:
    table: dict[str, tuple[Word, ...]] = {}
    for role, languages in WORDS.items():
        for language, words in languages.items():
            for rank, text in enumerate(words.split(", ")):
                key = normalise(text)
                table[key] = (*table.get(key, ()), Word(role, rank, language))
    return table


def meanings(header: str) -> tuple[Word, ...]:
    """What a header may mean; empty when unknown. `Volume BTC` is a volume of low rank."""
    return _meanings(header) if len(header) <= _LONGEST else ()


@functools.lru_cache(maxsize=1 << 14)
def _meanings(header: str) -> tuple[Word, ...]:
    key = normalise(header)
    known = _word_table().get(key, ())
    if not known and ", " in key:
        known = _word_table().get(key.replace(", ", " "), ())
    if not known:  # what a browser copies from Yahoo's page with the header: what stands over it
        known = _word_table().get(re.sub(r" (?:adjusted )?close price adjusted for splits.*", "", key), ())
    if not known and re.fullmatch(r"vol(?:ume)? (?!ma\b)[a-z]{2,5}", key) and header.strip()[-2:].isupper():
        return (Word("volume", 50, "en"),)
    known = known or _beside_price(key.split())
    return _meanings(re.sub(r"[()]", " ", header)) if not known and "(" in header else known


_PRICE_NOUN_WORDS = (
    "price, prices, kurs, kurz, koers, cours, fiyat, fiyatı, precio, preço, prezzo, prix, preis, harga, cena, цена, ціна, giá, ราคา, "
    "שער, سعر, قیمت, ár, kurssi, de, di"
)
_PRICE_NOUNS = frozenset(map(normalise, _PRICE_NOUN_WORDS.split(", ")))


def _beside_price(parts: list[str]) -> tuple[Word, ...]:
    """What a word for a price means by the words beside it: `price_close`, `kurs otwarcia`, `EN YÜKSEK FİYAT`."""
    rest = " ".join(part for part in parts if part not in _PRICE_NOUNS)
    found = _word_table().get(rest, ()) if len(rest) > 1 and rest != " ".join(parts) else ()
    return tuple(Word(word.role, 60 + word.rank, word.language) for word in found if word.role in ROLES[3:8])


_NO_PRICE_WORDS = (
    "ratio, ratios, eps, roe, roa, roi, roic, p/e, p/b, p/s, d/e, earnings, revenue, ebitda, sales, profit, margin, "
    "forecast, forecasts, forecasted, predicted, predict, prediction, predictions, pred, preds, yhat, estimate, estimated, "
    "pronostico, pronosticado, prediccion, previsao, prevision, prevista, prognose, prognoza, прогноз, tahmin, 予測, 预测, 預測, 예측, "
    "rate, rates, yield, yields, interest, libor, euribor, sofr, tasa, taxa, zins, zinssatz, taux, tasso, ставка, 金利, 利率, 금리, "
    "hash, hashrate, difficulty, dominance, fees, transactions, addresses, users, supply, holdings, reserves, deposits, "
    "passengers, population, inflation, consumer, producer, deflator, "
    "cpi, ppi, gdp, unemployment, employment, trend, trends, searches, sentiment, score, "
    "probability, percent, percentage, pct, return, returns, volatility, variance, correlation, beta, alpha, weight, weights, "
    "month, months, year, years, maturity, temperature, demand, load, mw, mwh, consumption, cases, deaths, count, counts, "
    "signal, label, target, rsi, macd, sma, ema"
)
_NO_PRICE = frozenset(map(normalise, _NO_PRICE_WORDS.split(", ")))
"""Words of what is no price: in a table without a known price column they say that it holds none."""


_RATIO = re.compile("(?<![汇匯])率|(?<!환)[률율](?:$|[^가-힣])")
"""What Chinese, Japanese and Korean write in words for a ratio or a rate, the rate of exchange left out."""
_EXCHANGE = re.compile(
    r"\b(?:(?:exchange|fx|forex|currency) rates?|tipo de cambio|t(?:asa|axa|aux) de (?:cambio|change)|tasso di cambio|wechselkurs)\b"
)
"""What the rate of exchange is called, which is a price."""
_TENOR = re.compile(r"\d+ ?(?:mo|m|yr|y)")


def names_no_price(header: str) -> bool:
    """Whether a header, or a word in it, names something that is no price, such as a rate, a ratio or a forecast."""
    key = _EXCHANGE.sub("", normalise(header[:_LONGEST])).strip()
    if _RATIO.search(key):
        return True
    return key in _NO_PRICE or not _NO_PRICE.isdisjoint(key.split()) or bool(_TENOR.fullmatch(key))


def is_exchange_rate(header: str) -> bool:
    """Whether a header names a rate of exchange."""
    return bool(_EXCHANGE.search(normalise(header[:_LONGEST])))


_CURRENCY_WORDS = (
    "usd eur gbp jpy cny krw inr chf cad aud nzd brl rub try pln usdt twd hkd sgd sek nok dkk czk huf ron uah zar mxn clp cop pen ars idr "
    "thb vnd myr php pkr egp ils sar aed kwd qar"
)
_CURRENCIES = frozenset(_CURRENCY_WORDS.split())
_MARKET_WORDS = (
    "gold, silver, platinum, palladium, copper, xau, xag, brent, wti, crude, bitcoin, btc, ethereum, eth, s&p, s&p500, sp500, spx, "
    "djia, dow, jones, nasdaq, russell, vix, ftse, ftse100, ftsemib, dax, cac, cac40, stoxx, eurostoxx, ibex, aex, omx, wig, wig20, "
    "bux, moex, imoex, rts, bist, bist100, xu100, nikkei, nikkei225, topix, hsi, hang, seng, ssec, csi300, kospi, kosdaq, taiex, "
    "sensex, nifty, jkse, ihsg, klci, vnindex, asx, ibovespa, ibov, merval, tasi, egx30, nepse"
)
_MARKETS = frozenset(_MARKET_WORDS.split(", "))
_BESIDE_WORDS = "index indeks indice composite industrial euro future futures spot generic all share to in per vs = oz ounce bbl barrel"
_BESIDE = frozenset(_BESIDE_WORDS.split())
"""What may stand beside them."""


def is_currency(stem: str) -> bool:
    """Whether what stands beside a field's name says in what its prices are, and of what not: `Close USD`."""
    return stem.lower() in _CURRENCIES


def names_market(header: str) -> bool:
    """Whether every word of a header is of what is traded, an index, a metal or two currencies: `EURO STOXX`, `gold`, `usd_to_clp`."""
    parts = [part for part in normalise(header[:_LONGEST]).split() if part not in _BESIDE and not part.isdigit()]
    traded = [part in _MARKETS or (part[:3] in _CURRENCIES and part[3:] in _CURRENCIES) for part in parts]
    money = [part in _CURRENCIES for part in parts]
    return all(a or b for a, b in zip(traded, money, strict=True)) and (any(traded) or sum(money) == 2)
