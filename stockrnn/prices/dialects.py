"""What vendors write: the words of price files in each language, and one visible table of vendors with a sample of each.

The reader knows no vendor: it finds columns by the words, and everything else by evidence. The table names what was
found, and its samples are what the tests write and read back.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

ROLES = ("date", "time", "ticker", "open", "high", "low", "close", "adj_close", "adj_volume", "volume", "other")
"""What a column can be; `other` is a known column that is not used."""

_WORDS: dict[str, dict[str, str]] = {
    "date": {
        "en": "date, trade date, trading date, price date, quote date, observation date, business date, dates, day, datetime, date time, timestamp, "
        "gmt time, local time, utc time, snapped at, candle date time kst, candle date time utc, tradedate, dtyyyymmdd, time open, open time, opentime, bar time, time start, time period start, dt, time, "
        "unix, unix timestamp, unix time, epoch, ts",
        "ko": "날짜, 일자, 거래일, 거래일자, 영업일, 기준일, 기준일자, 년월일, 일시, 체결일, 체결시간",
        "ja": "日付, 日付け, 年月日, 取引日, 日時",
        "zh": "日期, 交易日期, 交易日, 时间, 日期时间, 時間",
        "pt": "data, data do pregão, data pregão",
        "es": "fecha",
        "de": "datum",
        "tr": "tarih",
        "ru": "дата",
        "vi": "ngày",
        "id": "tanggal",
        "da": "dato",
    },
    "time": {
        "en": "time, time of day",
        "ko": "시간, 시각",
        "ja": "時刻",
        "pt": "hora",
        "de": "uhrzeit, zeit",
        "fr": "heure",
        "ru": "время",
    },
    "ticker": {
        "en": "ticker, symbol, tic, stock symbol, tickers, symbols, ts code, code, stock code, kdcode, instrument, secid, asset, pair, stock, security, "
        "company, permno, isin, name, stock name, company name, index",
        "ko": "종목코드, 단축코드, 종목명, 종목, 회사명",
        "ja": "コード, 銘柄コード, 銘柄",
        "zh": "股票代码, 证券代码, 代码, 股票名称, 证券名称, 名称, 證券代號",
        "pt": "papel, ativo, código, codneg",
        "ru": "тикер",
    },
    "open": {
        "en": "open, open price, opening price, opening, px open, open rate, bid open, day open, o",
        "ko": "시가, 오픈, 시작가, 시초가",
        "ja": "始値",
        "zh": "开盘, 开盘价, 今开, 開盤, 開盤價, 開盤價",
        "pt": "abertura, preço de abertura, preabe",
        "es": "apertura",
        "de": "eröffn, eröffnung, eröffnungskurs, erster",
        "fr": "ouv, ouverture",
        "tr": "açılış",
        "ru": "откр, открытие, цена открытия",
        "pl": "otwarcie",
        "vi": "mở, mở cửa, giá mở cửa",
        "id": "pembukaan, buka",
        "sv": "öppen, öppning",
    },
    "high": {
        "en": "high, high price, highest, highest price, px high, high rate, bid high, day high, max, h",
        "ko": "고가, 최고가, 최고",
        "ja": "高値",
        "zh": "最高, 最高价, 高, 最高價",
        "pt": "máxima, máximo, máx, preço máximo, premax",
        "de": "hoch, tageshoch, höchst, höchstkurs",
        "fr": "plus haut, haut, + haut",
        "it": "massimo",
        "tr": "yüksek, en yüksek",
        "ru": "макс, максимум, максимальная цена",
        "pl": "najwyższy",
        "nl": "hoog",
        "vi": "cao, cao nhất",
        "id": "tertinggi",
        "sv": "högst, høj",
    },
    "low": {
        "en": "low, low price, lowest, lowest price, px low, low rate, bid low, day low, min, l",
        "ko": "저가, 최저가, 최저",
        "ja": "安値",
        "zh": "最低, 最低价, 低, 最低價",
        "pt": "mínima, mínimo, mín, preço mínimo, premin",
        "de": "tief, tagestief, tiefst, tiefstkurs",
        "fr": "plus bas, bas, + bas",
        "tr": "düşük, en düşük",
        "ru": "мин, минимум, минимальная цена",
        "pl": "najniższy",
        "nl": "laag",
        "vi": "thấp, thấp nhất",
        "id": "terendah",
        "sv": "lägst, lav",
    },
    "close": {
        "en": "close, close price, closing price, close last, closing, closing value, px last, close rate, bid close, settle, settlement price, "
        "last, last price, latest, last traded price, ltp, trade price, price, rate, c",
        "ko": "종가, 현재가, 마감가, 체결가, 매매기준율",
        "ja": "終値, 現在値",
        "zh": "收盘, 收盘价, 收盤, 收盤價, 最新价",
        "pt": "fechamento, preço de fechamento, último, preço, cotação, preult",
        "es": "cierre, último, precio, precio de cierre",
        "de": "schlusskurs, schluss, zuletzt, letzter, kurs",
        "fr": "clôture, clôt, dernier, cours",
        "it": "chiusura, ultimo, prezzo",
        "tr": "kapanış, şimdi",
        "ru": "закрытие, цена закрытия, цена",
        "pl": "zamknięcie, ostatnio",
        "nl": "slotkoers, slot, laatste",
        "vi": "đóng cửa, giá đóng cửa, lần cuối",
        "id": "penutupan, terakhir",
        "sv": "senaste, stängning",
    },
    "adj_close": {
        "en": "adj close, adjusted close, adj close price, adjusted closing price, adjusted, adjusted price, adj closing price, close adj, close adjusted",
        "ko": "수정종가, 수정주가",
        "ja": "終値調整値, 調整後終値, 調整後終値*",
        "zh": "调整后收盘价, 复权收盘价",
    },
    "adj_volume": {"en": "adj volume, adjusted volume"},
    "volume": {
        "en": "volume, vol, volumes, shares traded, total trade quantity, total traded quantity, tottrdqty, traded volume, trade volume, total volume, "
        "volume traded, no of shares, number of shares, base volume, base asset volume, px volume, tickvol, tick volume, candle acc trade volume, quantity, qty, v",
        "ko": "거래량, 누적거래량",
        "ja": "出来高",
        "zh": "成交量, 交易量, 成交股数, 成交股數",
        "pt": "quantidade negociada, volume negociado, quatot",
        "es": "volumen",
        "de": "stuecke, stücke, stück, umsatz in stück, volumen",
        "tr": "hacim, hac",
        "ru": "объем, объём",
        "pl": "wolumen, wol",
        "vi": "khối lượng, kl",
    },
    "other": {
        "en": "change, change %, % change, chg, % chg, %chg, chg %, pct chg, pct change, change percent, percent change, p change, net change, return, returns, "
        "turnover, amount, trading value, prev close, previous close, pre close, preclose, prevclose, average price, average, wap, vwap, trades, no of trades, "
        "number of trades, open interest, openint, oi, openinterest, dividend, dividends, ex dividend, dividend amount, div cash, stock splits, split ratio, "
        "split coefficient, split factor, capital gains, market cap, marketcap, spread, series, value, per, adj open, adj high, adj low, adjusted open, "
        "adjusted high, adjusted low, close time, quote asset volume, quote volume, taker buy base asset volume, taker buy quote asset volume, "
        "weighted price, previous day open interest, adj factor, change rate, spread high low, spread close open, turn, adjustflag, tradestatus, isst, sector",
        "ko": "대비, 등락률, 등락율, 전일비, 전일대비, 변동 %, 변동, 변동%, 거래대금, 시가총액, 상장주식수, 기관순매매량, 외국인순매매량, 외국인보유율, 등락폭, 외국인, 기관, 개인",
        "ja": "変化率, 変化率 %, 前日比, 売買代金",
        "zh": "涨跌幅, 涨跌额, 成交额, 成交金额, 换手率, 振幅, 前收盘, 涨跌",
        "pt": "variação, var%, var %, variação %, var",
        "es": "% var, var",
        "de": "+/ %, veränderung, umsatz in euro",
        "fr": "variation %, variation",
        "it": "var %",
        "tr": "fark %",
        "ru": "изм %, изм",
        "pl": "zmiana%, zmiana",
        "vi": "% thay đổi",
        "id": "perubahan%",
    },
}
"""Role → language → words, the surest first."""

COMMA_LANGUAGES = frozenset({"pt", "es", "de", "fr", "it", "tr", "ru", "pl", "nl", "vi", "id", "da", "sv"})
"""Languages that write 1.234,56."""


@dataclass(frozen=True)
class Word:
    """What a header word means: its role, how sure (0 is the surest) and its language."""

    role: str
    rank: int
    language: str


def normalise(header: str) -> str:
    """A header as it is looked up: `<CLOSE>`, `4. close`, `Close*` and `close ` are all `close`; `adjClose` is `adj close`."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", unicodedata.normalize("NFKC", header))
    text = unicodedata.normalize("NFKD", text)
    text = unicodedata.normalize("NFKC", "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cc", "Cf")))
    text = re.sub(r"^\s*\d+\s*[.)]\s*(?=\D)|(?<=[a-z])\.\d+$", "", text.casefold())
    stripped = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", " ", text)
    text = re.sub(r"[\s_.\-:/*<>\"'#|]+", " ", stripped if stripped.strip() else text).strip()
    return re.sub(r"(?<=[\u3040-\u9fff\uac00-\ud7a3]) (?=[\u3040-\u9fff\uac00-\ud7a3])", "", text)


@functools.cache
def _word_table() -> dict[str, tuple[Word, ...]]:
    table: dict[str, tuple[Word, ...]] = {}
    for role, languages in _WORDS.items():
        for language, words in languages.items():
            for rank, text in enumerate(words.split(", ")):
                key = normalise(text)
                table[key] = (*table.get(key, ()), Word(role, rank, language))
    return table


def meanings(header: str) -> tuple[Word, ...]:
    """What a header may mean; empty when unknown. `Volume BTC` is a volume of low rank."""
    key = normalise(header)
    known = _word_table().get(key, ())
    if not known and re.fullmatch(r"vol(?:ume)? (?!ma\b)[a-z]{2,5}", key) and header.strip()[-2:].isupper():
        return (Word("volume", 50, "en"),)
    return known


@dataclass(frozen=True)
class Dialect:
    """One vendor's file.

    Attributes:
        header: the header as written; empty for a headerless file.
        source: where this form is documented or was seen.
        date_format: of the date column.
        separator: between cells.
        decimal: the decimal mark.
        encoding: as usually written.
        order: as usually written.
        above: a line above the header, empty for none.
    """

    name: str
    header: str
    source: str
    date_format: str = "%Y-%m-%d"
    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    order: str = "ascending"
    above: str = ""

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """The normalised header words."""
        return frozenset(normalise(cell) for cell in self.header.split(self.separator)) if self.header else frozenset()


_INVESTING = "https://www.investing.com, Historical Data, Download"
DIALECTS: tuple[Dialect, ...] = (
    Dialect("yahoo", "Date,Open,High,Low,Close,Adj Close,Volume", "https://finance.yahoo.com, Historical Data, Download"),
    Dialect(
        "yahoo-old", "Date,Open,High,Low,Close,Volume,Adj Close", "ichart.finance.yahoo.com/table.csv, before 2017", order="descending"
    ),
    Dialect(
        "yahoo-page", "Date,Open,High,Low,Close*,Adj Close**,Volume", "copied from finance.yahoo.com", "%b %d, %Y", "\t", order="descending"
    ),
    Dialect("pandas-datareader", "Date,High,Low,Open,Close,Volume,Adj Close", "https://pydata.github.io/pandas-datareader"),
    Dialect(
        "yfinance", "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits", "https://ranaroussi.github.io/yfinance", "%Y-%m-%d %H:%M:%S%z"
    ),
    Dialect("yfinance-flat", "Date,Close,High,Low,Open,Volume", "https://ranaroussi.github.io/yfinance"),
    Dialect("stooq", "Date,Open,High,Low,Close,Volume", "https://stooq.com/q/d"),
    Dialect("stooq-pl", "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen", "https://stooq.pl/q/d"),
    Dialect("stooq-bulk", "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>", "https://stooq.com/db/h", "%Y%m%d"),
    Dialect("finam", "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>", "https://www.finam.ru, export", "%d/%m/%y", ";"),
    Dialect(
        "metatrader5",
        "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
        "MetaTrader 5, Symbols, Export Bars",
        "%Y.%m.%d",
        "\t",
    ),
    Dialect("investing", "Date,Price,Open,High,Low,Vol.,Change %", _INVESTING, "%m/%d/%Y", encoding="utf-8-sig", order="descending"),
    Dialect("investing-ko", "날짜,종가,시가,고가,저가,거래량,변동 %", _INVESTING, "%Y- %m- %d", encoding="utf-8-sig", order="descending"),
    Dialect(
        "investing-ko-old", "날짜,종가,오픈,고가,저가,거래량,변동 %", _INVESTING, "%Y년 %m월 %d일", encoding="utf-8-sig", order="descending"
    ),
    Dialect("investing-pt", "Data,Último,Abertura,Máxima,Mínima,Vol.,Var%", _INVESTING, "%d.%m.%Y", ",", ",", "utf-8-sig", "descending"),
    Dialect("investing-es", "Fecha,Último,Apertura,Máximo,Mínimo,Vol.,% var.", _INVESTING, "%d.%m.%Y", ",", ",", "utf-8-sig", "descending"),
    Dialect("investing-de", "Datum,Zuletzt,Eröffn.,Hoch,Tief,Vol.,+/- %", _INVESTING, "%d.%m.%Y", ",", ",", "utf-8-sig", "descending"),
    Dialect(
        "investing-fr", "Date,Dernier,Ouv.,Plus Haut,Plus Bas,Vol.,Variation %", _INVESTING, "%d/%m/%Y", ",", ",", "utf-8-sig", "descending"
    ),
    Dialect("investing-it", "Data,Ultimo,Apertura,Massimo,Minimo,Vol.,Var. %", _INVESTING, "%d.%m.%Y", ",", ",", "utf-8-sig", "descending"),
    Dialect("investing-tr", "Tarih,Şimdi,Açılış,Yüksek,Düşük,Hac.,Fark %", _INVESTING, "%d.%m.%Y", ",", ",", "utf-8-sig", "descending"),
    Dialect("investing-ru", "Дата,Цена,Откр.,Макс.,Мин.,Объём,Изм. %", _INVESTING, "%d.%m.%Y", ",", ",", "utf-8-sig", "descending"),
    Dialect(
        "investing-ja", "日付け,終値,始値,高値,安値,出来高,変化率 %", _INVESTING, "%Y年%m月%d日", encoding="utf-8-sig", order="descending"
    ),
    Dialect("investing-zh", "日期,收盘,开盘,高,低,交易量,涨跌幅", _INVESTING, "%Y年%m月%d日", encoding="utf-8-sig", order="descending"),
    Dialect(
        "krx",
        "일자,종가,대비,등락률,시가,고가,저가,거래량,거래대금,시가총액,상장주식수",
        "http://data.krx.co.kr",
        "%Y/%m/%d",
        encoding="cp949",
        order="descending",
    ),
    Dialect(
        "krx-short",
        "일자,시가,고가,저가,종가,거래량",
        "Korean brokers' home trading systems",
        "%Y/%m/%d",
        encoding="cp949",
        order="descending",
    ),
    Dialect(
        "naver", "날짜,종가,전일비,시가,고가,저가,거래량", "https://finance.naver.com/item/sise_day.naver", "%Y.%m.%d", order="descending"
    ),
    Dialect("pykrx", "날짜,시가,고가,저가,종가,거래량,등락률", "https://github.com/sharebook-kr/pykrx"),
    Dialect("kiwoom", "일자,현재가,거래량,거래대금,시가,고가,저가", "Kiwoom OpenAPI+, opt10081", "%Y%m%d", order="descending"),
    Dialect("finance-datareader", "Date,Open,High,Low,Close,Volume,Change", "https://github.com/FinanceData/FinanceDataReader"),
    Dialect("alphavantage", "timestamp,open,high,low,close,volume", "https://www.alphavantage.co/documentation", order="descending"),
    Dialect(
        "alphavantage-adjusted",
        "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient",
        "https://www.alphavantage.co/documentation",
        order="descending",
    ),
    Dialect(
        "alphavantage-json", "date,1. open,2. high,3. low,4. close,5. volume", "https://pypi.org/project/alpha-vantage", order="descending"
    ),
    Dialect("nasdaq", "Date,Close/Last,Volume,Open,High,Low", "https://www.nasdaq.com, Historical Data", "%m/%d/%Y", order="descending"),
    Dialect("nasdaq-legacy", "date,close,volume,open,high,low", "https://www.nasdaq.com before 2018", "%Y/%m/%d", order="descending"),
    Dialect(
        "tiingo",
        "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor",
        "https://www.tiingo.com/documentation/end-of-day",
        "%Y-%m-%dT%H:%M:%S.%fZ",
    ),
    Dialect("wsj", "Date, Open, High, Low, Close", "https://www.wsj.com/market-data, Historical Prices", "%m/%d/%y", order="descending"),
    Dialect(
        "barchart", "Time,Open,High,Low,Last,Change,%Chg,Volume", "https://www.barchart.com, Price History", "%m/%d/%Y", order="descending"
    ),
    Dialect("kaggle-sp500", "date,open,high,low,close,volume,Name", "https://www.kaggle.com/datasets/camnugent/sandp500"),
    Dialect(
        "kaggle-huge",
        "Date,Open,High,Low,Close,Volume,OpenInt",
        "https://www.kaggle.com/datasets/borismarjanovic/price-volume-data-for-all-us-stocks-etfs",
    ),
    Dialect("kaggle-nyse", "date,symbol,open,close,low,high,volume", "https://www.kaggle.com/datasets/dgawlik/nyse"),
    Dialect(
        "quandl-wiki",
        "Date,Open,High,Low,Close,Volume,Ex-Dividend,Split Ratio,Adj. Open,Adj. High,Adj. Low,Adj. Close,Adj. Volume",
        "https://data.nasdaq.com/databases/WIKIP",
        order="descending",
    ),
    Dialect(
        "quandl-nse",
        "Date,Open,High,Low,Last,Close,Total Trade Quantity,Turnover (Lacs)",
        "https://data.nasdaq.com/data/NSE",
        order="descending",
    ),
    Dialect(
        "quandl-futures", "Date,Open,High,Low,Last,Change,Settle,Volume,Previous Day Open Interest", "https://data.nasdaq.com/data/CHRIS"
    ),
    Dialect("nse", "Date,Open,High,Low,Close,Shares Traded,Turnover (Rs. Cr)", "https://www.nseindia.com, index archives", "%d-%b-%Y"),
    Dialect(
        "nse-equity",
        "Symbol,Series,Date,Prev Close,Open Price,High Price,Low Price,Last Price,Close Price,Average Price,Total Traded Quantity,Turnover,No. of Trades",
        "https://www.nseindia.com, security-wise archives",
        "%d-%b-%Y",
    ),
    Dialect(
        "bse",
        "Date,Open Price,High Price,Low Price,Close Price,WAP,No.of Shares,No. of Trades,Total Turnover (Rs.)",
        "https://www.bseindia.com, stock prices",
        "%d-%B-%Y",
        order="descending",
    ),
    Dialect(
        "b3",
        "DATA;ABERTURA;FECHAMENTO;VARIAÇÃO;MÍNIMO;MÁXIMO;VOLUME",
        "https://www.infomoney.com.br",
        "%d/%m/%Y",
        ";",
        ",",
        "utf-8",
        "descending",
    ),
    Dialect(
        "ariva",
        "Datum;Erster;Hoch;Tief;Schlusskurs;Stuecke;Volumen",
        "https://www.ariva.de, Historische Kurse",
        "%Y-%m-%d",
        ";",
        ",",
        order="descending",
    ),
    Dialect(
        "binance",
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
        "https://github.com/binance/binance-public-data",
        "epoch_ms",
    ),
    Dialect("binance-klines", "", "https://data.binance.vision", "epoch_ms"),
    Dialect("metatrader4", "", "MetaTrader 4, History Center, Export", "%Y.%m.%d %H:%M"),
    Dialect("coinbase", "time,low,high,open,close,volume", "https://docs.cdp.coinbase.com, product candles", "epoch_s"),
    Dialect(
        "cryptodatadownload",
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
        "https://www.cryptodatadownload.com/data",
        "%Y-%m-%d %H:%M:%S",
        order="descending",
        above="https://www.CryptoDataDownload.com",
    ),
    Dialect(
        "coinmarketcap",
        "Date,Open*,High,Low,Close**,Volume,Market Cap",
        "https://coinmarketcap.com, Historical Data",
        "%b %d, %Y",
        "\t",
        order="descending",
    ),
    Dialect("coingecko", "snapped_at,price,market_cap,total_volume", "https://www.coingecko.com, Historical Data", "%Y-%m-%d %H:%M:%S UTC"),
    Dialect(
        "dukascopy",
        "Gmt time,Open,High,Low,Close,Volume",
        "https://www.dukascopy.com/swiss/english/marketwatch/historical",
        "%d.%m.%Y %H:%M:%S.%f",
    ),
    Dialect(
        "tushare",
        "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount",
        "https://tushare.pro/document/2",
        "%Y%m%d",
        order="descending",
    ),
    Dialect("akshare", "日期,开盘,收盘,最高,最低,成交量,成交额,振幅,涨跌幅,涨跌额,换手率", "https://akshare.akfamily.xyz"),
    Dialect("kabu", "日付,始値,高値,安値,終値,出来高,終値調整値", "Japanese brokers and kabu sites", encoding="cp932"),
    Dialect("fred", "observation_date,SP500", "https://fred.stlouisfed.org"),
    Dialect("close-only", "Date,Close", "any"),
    Dialect("ohlc", "Date,Open,High,Low,Close", "any"),
)
