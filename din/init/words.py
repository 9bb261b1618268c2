"""Names that logs give to their columns, in several languages, by what the column holds.

A name is split into words without accents: `Kunden-Nr.` is kunden, nr, and `userId` is user, id. A word matches an
entry that it begins with; an entry that ends in `$` must be the whole word. Earlier entries are more certain.
"""

import re
import unicodedata
from collections.abc import Iterable

USER = (
    "user", "uid$", "usr$", "visitor", "customer", "kunde", "nutzer", "benutzer", "kaeufer", "besucher", "reviewer",
    "client", "kund", "member", "mitglied", "account", "konto", "buyer", "shopper", "viewer", "listener", "reader",
    "usuario", "utilisateur", "acheteur", "utente", "gebruiker", "klant", "cliente", "klient", "uzytkownik",
    "anvandare", "bruger", "kullanici", "pol'zovatel", "пользовател", "клиент", "用户", "会员", "ユーザ", "사용자",
    "profile", "person", "cookie", "device", "ip$", "session", "sitzung", "sid$",
)  # fmt: skip
ITEM = (
    "item", "iid$", "product", "produkt", "artikel", "article", "sku", "asin", "isbn", "gtin$", "ean$", "movie", "film",
    "video", "photo", "song", "track", "artist", "album", "book", "buch", "anime", "game", "spiel", "app$", "adgroup",
    "ad$", "ads$", "adid", "advert", "anzeige", "werbemittel", "banner", "creative", "news", "story", "doc$",
    "document", "post$", "pin$", "content", "listing", "offer", "angebot", "hotel", "restaurant", "business", "venue",
    "poi$", "recipe", "rezept", "job$", "course", "kurs", "ware", "pelicula", "producto", "articulo", "produit",
    "prodotto", "articolo", "produto", "artigo", "tovar", "towar", "urun", "товар", "фильм", "商品", "物品", "视频",
    "商品id", "アイテム", "상품", "page", "url$", "campaign", "kampagne",
)  # fmt: skip
TIME = (
    "timestamp", "ts$", "zeitstempel", "zeitpunkt", "datetime", "time", "unixtime", "unixreviewtime", "uhrzeit", "zeit",
    "date", "datum", "created", "occurred", "horodatage", "fecha", "momento", "heure", "hora", "data$", "dt$", "day",
    "tag$", "hour", "stunde", "tijd", "tid$", "tarih", "время", "дата", "时间", "日期", "日時", "시간",
)  # fmt: skip
CLICK = (
    "clicked", "click", "clk", "klick", "geklickt", "angeklickt", "clic", "pulsad", "cliqu", "klik", "клик", "点击",
    "クリック", "클릭",
)  # fmt: skip
LABEL = ("label", "target$", "y$", "outcome", "ziel$", "response", "positive")
REACTION = (
    "like", "gefaellt", "gefallt", "favorit", "bought", "buy", "purchase", "gekauft", "kauf", "bestellt", "ordered",
    "convert", "conversion", "comprado", "achete", "acquist", "koop", "gekocht", "watched", "listened", "played",
    "read$", "installed", "booked", "gebucht", "applied", "saved", "opened", "engaged", "interact",
)  # fmt: skip
RATING = (
    "rating", "rate$", "stars", "star$", "score", "bewertung", "sterne", "note$", "overall", "grade", "puntuacion",
    "valoracion", "valutazione", "voto", "avaliacao", "оценка", "评分",
)  # fmt: skip
ACTION = (
    "action", "event", "aktion", "ereignis", "behavior", "behaviour", "interaction", "type", "typ$", "verhalten",
    "btag$", "feedback", "accion", "evento", "行为",
)  # fmt: skip
FEEDBACK = (
    *RATING, *REACTION, *CLICK, "nonclk", "noclick", "watch", "watchtime", "play", "dwell", "verweil", "view",
    "gesehen", "finish", "complete", "follow", "comment", "kommentar", "review", "rezension", "summary", "helpful",
    "forward", "share", "geteilt", "hate", "skip", "dislike", "cart", "warenkorb", "add$", "basket", "favor", "revenue",
    "umsatz", "sales", "order", "bestell", "transaction", "checkout", "paid", "bezahlt", "bounce", "scroll", "stay",
    "spent", "useful", "funny", "vote",
    "quantity", "menge", "engagement", "exit", "leave", "report", "reward", "payout", "attribution",
)  # fmt: skip
MONEY = (
    "price", "preis", "cost", "kosten", "prix", "precio", "prezzo", "amount", "betrag", "rabatt", "discount", "percent",
)  # fmt: skip
NUMBER = (
    *MONEY, "age", "alter", "edad", "eta$", "count", "anzahl", "num", "duration", "dauer", "laenge", "lange", "length",
    "size", "groesse", "weight", "gewicht", "distance", "ctr", "popularity",
    "verweil", "dwell", "time", "ms$", "sec", "sek", "minutes", "quantity", "menge", "width", "height", "position",
)  # fmt: skip
ID = ("id", "ids$", "nr$", "no$", "nummer", "key$", "code", "hash", "uuid", "guid", "sku", "isbn", "asin")
CATEGORY = (
    "category", "cat$", "cate", "kategorie", "warengruppe", "gruppe", "group", "class", "klasse", "brand", "marke",
    "genre", "type", "typ$", "kind", "art$", "color", "farbe", "city", "stadt", "country", "land$", "region", "zip",
    "plz", "os$", "model", "segment", "channel", "kanal", "level", "code", "categorie", "categoria", "marca", "marque",
    "类目", "类别", "品牌",
)  # fmt: skip
YES = ("1", "1.0", "true", "yes", "ja", "y", "j", "t", "oui", "si", "sí", "sim", "да", "是", "tak", "click", "clicked")
NO = ("0", "0.0", "false", "no", "nein", "n", "f", "non", "não", "нет", "否", "nie", "view", "impression", "none", "")
SHOWN = ("view", "impression", "imp$", "show", "pv$", "ansicht", "anzeige", "gesehen", "vue", "exposure", "display")
CLICKED = ("click", "clk", "clicked", "klick", "clic", "geklickt", "buy", "purchase", "kauf", "gekauft", "transaction")

_SPECIAL = str.maketrans({"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "ø": "o", "ł": "l", "ı": "i"})


def words(name: str) -> list[str]:
    """Return the words of a column's name, in lower case and without accents."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    plain = unicodedata.normalize("NFKD", split.lower().translate(_SPECIAL))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [word for word in re.split(r"[\W_]+", letters) if word and word not in ("token", "float", "seq")]


def rank(name: str, entries: tuple[str, ...]) -> int | None:
    """Return the place of the first entry that matches a word of a name, or None."""
    found = words(name)
    for place, entry in enumerate(entries):
        whole = entry.removesuffix("$")
        if any(word == whole if entry.endswith("$") else word.startswith(whole) for word in found):
            return place
    return None


def means(name: str, entries: tuple[str, ...]) -> bool:
    """Return whether a name matches an entry."""
    return rank(name, entries) is not None


def by_name(names: Iterable[str], entries: tuple[str, ...]) -> list[str]:
    """Return the names that match an entry, the most certain first."""
    ranked = [(place, name) for name in names if (place := rank(name, entries)) is not None]
    return [name for _, name in sorted(ranked, key=lambda one: one[0])]
