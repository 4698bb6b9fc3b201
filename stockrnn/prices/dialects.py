"""One visible table of what vendors write: a sample header of each, where it is documented, and how its cells look.

The reader knows no vendor: it finds columns by their words (`words.py`) and everything else by evidence. The table names
what was found, and its samples are what the tests write and read back.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from stockrnn.prices.words import meanings, normalise


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

    @functools.cached_property
    def without_volume(self) -> frozenset[str]:
        """The words that are no volume: what a vendor writes of a rate of exchange or of an index."""
        return frozenset(word for word in self.words if not any(found.role == "volume" for found in meanings(word)))

    def is_within(self, order: Sequence[str]) -> bool:
        """Whether a header has this one's words in its order, among others."""
        rest = iter(order)
        return bool(self.words) and all(normalise(cell) in rest for cell in self.header.split(self.separator))


_INVESTING = "https://www.investing.com, Historical Data, Download"
DIALECTS: tuple[Dialect, ...] = (
    Dialect("yahoo", "Date,Open,High,Low,Close,Adj Close,Volume", "https://finance.yahoo.com, Historical Data, Download"),
    Dialect(
        "yahoo-old", "Date,Open,High,Low,Close,Volume,Adj Close", "ichart.finance.yahoo.com/table.csv, before 2017", order="descending"
    ),
    Dialect(
        "yahoo-page",
        "Date\tOpen\tHigh\tLow\tClose*\tAdj Close**\tVolume",
        "copied from finance.yahoo.com",
        "%b %d, %Y",
        "\t",
        order="descending",
    ),
    Dialect("pandas-datareader", "Date,High,Low,Open,Close,Volume,Adj Close", "https://pydata.github.io/pandas-datareader"),
    Dialect(
        "yfinance", "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits", "https://ranaroussi.github.io/yfinance", "%Y-%m-%d %H:%M:%S%z"
    ),
    Dialect("ohlcv", "Date,Open,High,Low,Close,Volume", "https://stooq.com/q/d, and many others"),
    Dialect("yfinance-flat", "Date,Close,High,Low,Open,Volume", "https://ranaroussi.github.io/yfinance"),
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
    Dialect(
        "ohlc",
        "Date, Open, High, Low, Close",
        "https://www.wsj.com/market-data, Historical Prices, and many others",
        "%m/%d/%y",
        order="descending",
    ),
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
        "Symbol,Series,Date,Prev Close,Open Price,High Price,Low Price,Last Price,Close Price,Average Price,"
        "Total Traded Quantity,Turnover,No. of Trades",
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
        "Date\tOpen*\tHigh\tLow\tClose**\tVolume\tMarket Cap",
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
)


def name_dialect(headers: Sequence[str]) -> str:
    """The vendor whose header this is: all of its words and no more, in its order if any has it; else `unknown`."""
    order = [normalise(header) for header in headers]
    found = frozenset(word for word in order if word)
    exact = [dialect for dialect in DIALECTS if dialect.words == found and found]
    exact.sort(key=lambda dialect: dialect.header.split(dialect.separator) != list(headers))
    for dialect in exact:
        if [normalise(cell) for cell in dialect.header.split(dialect.separator)] == order:
            return dialect.name
    if exact:
        return exact[0].name
    partial = [dialect for dialect in DIALECTS if len(dialect.words) >= 6 and dialect.is_within(order)]
    if partial:
        return max(partial, key=lambda dialect: len(dialect.words)).name
    return next((dialect.name for dialect in DIALECTS if len(found) >= 6 and dialect.without_volume == found), "unknown")
