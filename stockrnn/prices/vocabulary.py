"""The words of price files in many languages, by what they mean."""

from __future__ import annotations

ROLES = ("date", "time", "ticker", "open", "high", "low", "close", "adj_close", "adj_volume", "volume", "other")
"""What a column can be; `other` is a known column that is not used."""

WORDS: dict[str, dict[str, str]] = {
    "date": {
        "en": (
            "date, trade date, trading date, price date, quote date, observation date, business date, dates, day, "
            "datetime, date time, timestamp, gmt time, local time, utc time, snapped at, candle date time kst, candle "
            "date time utc, tradedate, dtyyyymmdd, time open, open time, opentime, bar time, time start, time period "
            "start, dt, trddt, ref date, trad dt, nav date, date1, published date, bas dt, bas dd, trd dd, stck bsop date, time, unix, "
            "unix timestamp, unix time, epoch, ts, as of, as of date, datadate, mts, ch timestamp, year, fiscal year, start, "
            "exchange date, local date, ds"
        ),
        "ko": "날짜, 일자, 거래일, 거래일자, 영업일, 기준일, 기준일자, 년월일, 일시, 체결일, 체결시간, 연도, 년도, 년",
        "ja": "日付, 日付け, 年月日, 取引日, 日時, 年, 年度",
        "zh": "日期, 交易日期, 净值日期, 交易日, 时间, 日期时间, 交易时间, 時間, 年份",
        "pt": "data, data do pregão, data pregão, ano, dt comptc",
        "es": "fecha, año, período",
        "fr": "année",
        "it": "anno",
        "de": "datum, jahr",
        "tr": "tarih, yıl",
        "ru": "дата, дата торгов, год",
        "vi": "ngày, ngày giao dịch, năm",
        "id": "tanggal, tahun",
        "th": "วันที่, วันเดือนปี",
        "da": "dato",
        "fi": "pvm, päivämäärä",
        "el": "ημερομηνία",
        "he": "תאריך",
        "ar": "التاريخ",
        "ms": "tarikh",
        "hu": "dátum",
        "cs": "datum",
        "uk": "дата",
        "fa": "تاریخ",
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
        "en": (
            "ticker, symbol, tic, ticker symbol, trading symbol, stock id, stockcode, security code, ric, "
            "stock symbol, tickers, symbols, ts code, code, stock code, kdcode, stkcd, indexcd, index code, instrument, secid, "
            "asset, pair, stock, security, company, permno, tckr symb, thscode, stk cd, srtn cd, isin, name, "
            "stock name, company name, index, index name, contract, order book id, trading code, sym, tickersymbol, securities code, "
            "asset id, ch symbol, unique id, scheme name, scheme code"
        ),
        "ko": "종목코드, 단축코드, 종목명, 종목, 회사명",
        "ja": "コード, 銘柄コード, 銘柄",
        "zh": "股票代码, 证券代码, 代码, 股票名称, 证券名称, 名称, 證券代號, 合约代码",
        "pt": "papel, ativo, código, codneg",
        "pl": "nazwa",
        "es": "símbolo, especie",
        "tr": "işlem kodu, hisse kodu, hisse",
        "ru": "тикер, код фьючерса, кратк наим, торговый код",
        "vi": "mã ck, mã chứng khoán, mã cổ phiếu",
    },
    "open": {
        "en": (
            "first, open, open price, opening price, opening, opn pric, open pric, stck oprc, px open, open rate, "
            "bid open, day open, opnprc, opnindex, tdd opnprc, "
            "start price, start, open fixed, openfixed, openprc, open prc, prcod, openp, ch opening price, 24h open, topen, o"
        ),
        "ko": "시가, 오픈, 시작가, 시초가, mkp",
        "ja": "始値, 開始価格, 始まり値, 寄付値",
        "zh": "开盘, 开盘价, 今开, 開盤, 開盤價, 开市, 开市价, 開市, 開市價",
        "pt": "abertura, preço de abertura, preabe",
        "es": "apertura, abrir",
        "de": "eröffn, eröffnung, eröffnungskurs, erster, eroeffnung, eröffnungspreis",
        "fr": "ouv, ouverture, premier, prix début",
        "tr": "açılış, açılış fiyatı",
        "ru": "откр, открытие, цена открытия, цена первой сделки",
        "pl": "otwarcie, otwarcia",
        "vi": "mở, mở cửa, giá mở cửa, giá mở",
        "id": "pembukaan, buka",
        "sv": "öppen, öppning, öppningskurs",
        "da": "åben, åpen, åbning, åbningskurs",
        "fi": "avaus, avauskurssi",
        "el": "άνοιγμα",
        "he": "פתיחה",
        "ar": "مفتوح, افتتاح, الافتتاح, سعر الافتتاح",
        "th": "เปิด, ราคาเปิด",
        "cs": "otevřeno, otevírací, otevření, otváracia",
        "hu": "nyitó, nyitás, nyitóár",
        "ro": "deschidere",
        "uk": "відкриття",
        "bg": "отваряне, отваряща",
        "no": "åpning, åpningskurs",
        "nl": "opening, openingskoers",
        "ms": "buka",
        "fa": "بازگشایی, اولین",
        "hr": "otvaranje, prva",
        "it": "apertura",
    },
    "high": {
        "en": (
            "high, high price, highest, highest price, px high, high rate, bid high, day high, hiprc, hiindex, "
            "hgh pric, high pric, stck hgpr, tdd hgprc, high fixed, highfixed, high 1, prchd, ch trade high price, max, maximum, "
            "askhi, 24h high, h"
        ),
        "ko": "고가, 최고가, 최고, hipr",
        "ja": "高値, 最高価格, 最高値",
        "zh": "最高, 最高价, 高, 最高價, 最高点",
        "pt": "máxima, máximo, máx, preço máximo, premax",
        "de": "hoch, tageshoch, höchst, höchstkurs, höchster, tageshöchst, tageshöchstkurs",
        "fr": "plus haut, haut, + haut, plus haut du jour, +haut du jour",
        "it": "massimo",
        "tr": "yüksek, en yüksek, en yüksek",
        "ru": "макс, максимум, максимальная цена, максим цена",
        "pl": "najwyższy",
        "nl": "hoog, hoogste",
        "vi": "cao, cao nhất, giá cao nhất, giá cao",
        "id": "tertinggi",
        "sv": "högst, høj, høy, högsta, högstakurs",
        "fi": "ylin",
        "el": "υψηλό",
        "he": "גבוה",
        "ar": "مرتفع, أعلى, الأعلى, أعلى سعر",
        "th": "สูง, สูงสุด, ราคาสูงสุด",
        "cs": "nejvyšší, najvyššia",
        "hu": "legmagasabb, magas",
        "ro": "maxim",
        "uk": "максимум, найвища",
        "bg": "най-висока, макс",
        "da": "højeste",
        "no": "høyest, høyeste",
        "ms": "tinggi",
        "fa": "بیشترین",
        "hr": "najviša",
    },
    "low": {
        "en": (
            "low, low price, lowest, lowest price, px low, low rate, bid low, day low, loprc, loindex, lw pric, "
            "low pric, stck lwpr, tdd lwprc, low fixed, lowfixed, low 1, prcld, ch trade low price, min, minimum, bidlo, 24h low, l"
        ),
        "ko": "저가, 최저가, 최저, lopr",
        "ja": "安値, 最低価格, 最安値",
        "zh": "最低, 最低价, 低, 最低價, 最低点",
        "pt": "mínima, mínimo, mín, preço mínimo, premin",
        "de": "tief, tagestief, tiefst, tiefstkurs, tiefster, tagestiefst, tagestiefstkurs",
        "fr": "plus bas, bas, + bas, plus bas du jour, +bas du jour",
        "tr": "düşük, en düşük",
        "ru": "мин, минимум, минимальная цена, миним цена",
        "pl": "najniższy",
        "nl": "laag, laagste",
        "vi": "thấp, thấp nhất, giá thấp nhất, giá thấp",
        "id": "terendah",
        "sv": "lägst, lav, lägsta, lägstakurs",
        "fi": "alin",
        "el": "χαμηλό",
        "he": "נמוך",
        "ar": "منخفض, أدنى, الأدنى, أدنى سعر",
        "th": "ต่ำ, ต่ำสุด, ราคาต่ำสุด",
        "cs": "nejnižší, najnižšia",
        "hu": "legalacsonyabb, alacsony",
        "ro": "minim",
        "uk": "мінімум, найнижча",
        "bg": "най-ниска",
        "da": "laveste",
        "no": "lavest, laveste",
        "ms": "rendah",
        "fa": "کمترین",
        "hr": "najniža",
    },
    "close": {
        "en": (
            "close, close price, closing price, close last, closing, closing value, px last, close rate, bid close, "
            "settle, settlement price, last, last price, latest, last traded price, ltp, trade price, clsprc, clsindex, "
            "cls pric, cur prc, stck clpr, stck prpr, tdd clsprc, closep, hst close, trdprc 1, prccd, prc, "
            "market price, spot price, stock price, share price, unit price, price, prices, ch closing price, "
            "nav, nav per share, net asset value, tclose, c"
        ),
        "ko": "종가, 현재가, 마감가, 체결가, 매매기준율, clpr, 가격, 기준가, 기준가격",
        "ja": "終値, 現在値, 終了価格, 価格, 基準価額",
        "zh": "收盘, 收盘价, 收盤, 收盤價, 最新价, 收市, 收市价, 收市價, 价格, 價格, 单位净值",
        "pt": "fechamento, preço de fechamento, último, preço, cotação, preult, vl quota, valor da cota",
        "es": "cierre, último, precio, precio de cierre",
        "de": "schlusskurs, schluss, zuletzt, letzter, kurs, preis, schlusspreis, tagesschluss",
        "fr": "clôture, clôt, fermeture, dernier, cours, prix, prix fin",
        "it": "chiusura, ultimo, prezzo",
        "ro": "curs, închidere",
        "tr": "kapanış, şimdi, son, fiyat",
        "ru": "закрытие, закр, цена закрытия, цена последней сделки, цена",
        "pl": "zamknięcie, ostatnio, kurs średni, cena, zamknięcia, ostatnio, ostatni",
        "nl": "slotkoers, slot, laatste",
        "vi": "đóng cửa, giá đóng cửa, lần cuối, giá",
        "id": "penutupan, terakhir, harga",
        "sv": "senaste, stängning, slutkurs, stängningskurs",
        "da": "seneste, siste, lukkekurs",
        "fi": "viimeisin, päätös, päätöskurssi",
        "el": "τελευταία, κλείσιμο",
        "he": "שער, אחרון, סגירה, נעילה",
        "ar": "الأخير, إغلاق, الإغلاق, سعر الإغلاق, السعر",
        "th": "ล่าสุด, ปิด, ราคาปิด, ราคาปิด",
        "cs": "poslední, závěr, zavírací, zavření, závěrečný, závěrečný kurz, zatváracia",
        "hu": "záró, zárás, záróár",
        "uk": "закриття, ціна",
        "bg": "затваряне, затваряща",
        "no": "slutt, sluttkurs",
        "ms": "tutup",
        "fa": "پایانی, آخرین",
        "hr": "zatvaranje, zadnja",
    },
    "adj_close": {
        "en": (
            "adj close, adjusted close, adj close price, adjusted closing price, adjusted, adjusted price, adj closing "
            "price, close adj, close adjusted, adjclose, adjustedclose, adjustment close, close fixed, closefixed"
        ),
        "ko": "수정종가, 수정주가",
        "ja": "終値調整値, 調整後終値, 調整後終値*",
        "pt": "fechamento ajustado, preço ajustado",
        "es": "cierre ajustado, cierre aj, precio ajustado",
        "de": "adj schlusskurs, angepasster schlusskurs, bereinigter schlusskurs",
        "fr": "clôture ajustée, cours ajusté",
        "it": "chiusura aggiustata, chiusura adj, chiusura rettificata",
        "zh": "调整后收盘价, 复权收盘价",
        "vi": "giá điều chỉnh, giá đóng cửa điều chỉnh",
    },
    "adj_volume": {"en": "adj volume, adjusted volume, adjustment volume"},
    "volume": {
        "en": (
            "volume, vol, volumes, shares traded, share volume, total traded shares, total trade quantity, "
            "total traded quantity, tottrdqty, traded volume, "
            "trade volume, total volume, volume traded, no of shares, number of shares, base volume, base asset volume, "
            "px volume, tickvol, tick volume, trading volume, ttl tradg vol, ttl trd qnty, trde qty, acml vol, acc trdvol, "
            "candle acc trade volume, volumefrom, acvol uns, acvol 1, cshtrd, dnshrtrd, ch tot traded qty, traded quantity, "
            "capacity, quantity, qty, v"
        ),
        "ko": "거래량, 누적거래량, trqu",
        "ja": "出来高, ボリューム, 取引量, 売買高",
        "zh": "成交量, 交易量, 成交股数, 成交股數, 总手, 成交张数, 成交張數",
        "pt": "quantidade negociada, volume negociado, quatot, q títs, quantidade, qtde negociada",
        "es": "volumen",
        "de": "stuecke, stücke, stück, umsatz in stück, volumen, umsatz stk, volumen stk",
        "fr": "nombre de titres échangés, quantité négociée, titres échangés",
        "tr": "hacim, hac, toplam işlem adedi, işlem adedi, işlem miktarı",
        "ru": "объем, объём, объем торгов контр, объем торгов шт",
        "pl": "wolumen, wol",
        "he": "נפח, מחזור",
        "ar": "الحجم, حجم التداول",
        "th": "ปริมาณ",
        "vi": "khối lượng, kl, khối lượng giao dịch, klgd, kl khớp lệnh, khối lượng khớp lệnh",
        "hu": "forgalom",
        "cs": "objem",
        "ro": "volum",
        "uk": "обсяг",
        "bg": "обем",
        "sv": "volym",
        "ms": "isipadu",
        "fa": "حجم",
        "hr": "količina",
        "nl": "volume",
    },
    "other": {
        "en": (
            "change, change %, % change, chg, % chg, %chg, chg %, pct chg, pct change, change percent, percent change, p "
            "change, net change, return, returns, turnover, amount, trading value, prev close, previous close, pre close, "
            "preclose, prevclose, average price, average, wap, vwap, trades, no of trades, number of trades, open "
            "interest, openint, oi, openinterest, dividend, dividends, ex dividend, dividend amount, div cash, stock "
            "splits, split ratio, split coefficient, split factor, capital gains, market cap, marketcap, spread, series, "
            "value, per, adj open, adj high, adj low, adjusted open, adjusted high, adjusted low, close time, quote asset "
            "volume, quote volume, taker buy base asset volume, taker buy quote asset volume, weighted price, previous "
            "day open interest, adj factor, change rate, spread high low, spread close open, turn, adjustflag, "
            "tradestatus, isst, sector, bid, ask, offer, bid price, ask price, best bid, best ask, shares outstanding, net assets, "
            "total net assets, repurchase price, sale price, ycp, volumeto, adjusted volume to"
        ),
        "ko": (
            "대비, 등락률, 등락율, 전일비, 전일대비, 변동 %, 변동, 변동%, "
            "거래대금, 시가총액, 상장주식수, 기관순매매량, 외국인순매매량, 외국인보유율, 등락폭, 외국인, 기관, "
            "개인, 매수, 매도, 수정기준가격, 설정액, 순자산총액"
        ),
        "ja": "変化率, 変化率 %, 前日比, 売買代金, 純資産総額, 分配金",
        "zh": "涨跌幅, 涨跌额, 成交额, 成交金额, 换手率, 振幅, 前收盘, 涨跌, 累计净值, 日增长率",
        "pt": "variação, var%, var %, variação %, var, compra, venda",
        "es": "% var, var, compra, venta, comprador, vendedor",
        "de": "+/ %, veränderung, umsatz in euro, geld, brief",
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
