"""Who is meant: the surname by which a paragraph names a voice -> the full name that the document gives.

A link is made only where exactly one full name in the document fits; a wrong name is worse than none. Names
are found by form alone: two to four capitalised words that stand together, without title, and are neither
places nor institutions. English text is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLES = _words(
    """
    mr mrs ms miss mx dr prof sir dame lord lady president vice prime minister premier chancellor deputy
    secretary undersecretary secretary-general general ambassador envoy special senator sen rep
    representative congressman congresswoman lawmaker gov governor mayor king queen prince princess crown
    emir sultan shah sheikh sheik ayatollah imam mullah pope bishop archbishop cardinal patriarch rev
    reverend rabbi judge justice gen lt col maj capt sgt adm brig admiral colonel major captain commander
    commandant brigadier lieutenant sergeant marshal field chairman chairwoman chairperson chair speaker
    spokesman spokeswoman spokesperson director chief head commissioner rapporteur coordinator negotiator
    mediator analyst professor comrade supreme leader assistant attorney acting former ex late dictator
    journalist activist defector diplomat official expert economist historian researcher scholar author
    writer foreign defense defence interior finance home unification treasury state fm pm mp adviser
    advisor administrator aide candidate nominee coach columnist commentator correspondent counsel
    counselor councillor cofounder co-founder elder editor executive founder governor-general host
    minority majority moderator officer operating organizer organiser president-elect political reporter
    staff superintendent tory vice-president whip born father mother brother sister daughter wife husband
    saint st
    """
)
_INSTITUTIONS = _words(
    """
    academy administration affairs agency agreement air airlines alliance amnesty archives army assembly
    association authority bank barracks bay beach board border brigade brigades building bureau cabinet
    campaign capital center central centre chamber church city coalition college command commission
    committee communist conference congress convention corps council country court daily day declaration
    democratic department desert development division district embassy embassies exchange family federal
    federation fleet forces forum foundation front fund global government governments group guard guards
    guardian gulf headquarters herald high hill house human institute institution international island
    islands journal lake law league liberation mail management ministries ministry mission monitor mount
    mountain movement museum national nations naval navy network news newspaper nuclear office opposition
    orchestra organisation organization pact palace parliament partnership party peace peninsula people
    peoples plan police policy port post press programme project protocol province public radio red region
    regional relief republic research reserve resistance revolutionary rights river royal school sea
    security senate service socialist society square state states statement strait street strip studies
    summit supreme system talks task team telegraph television temple theatre times treaty tribune
    tribunal tv union unit united university valley village watch white wing workers world zone north
    south east west northern southern eastern western new old great free first third january february
    march april may june july august september october november december monday tuesday wednesday thursday
    friday saturday sunday christmas easter ramadan jan feb mar apr jun jul aug sept sep oct nov dec mon
    tue tues wed thu thurs fri conflict crisis war
    """
)
_PLACES = _words(
    """
    afghanistan africa albania aleppo algeria algiers america amman angola ankara arabia argentina armenia
    asia athens australia austria azerbaijan baghdad bahrain baku bangkok bangladesh beijing beirut
    belarus belgium belgrade berlin bolivia bosnia brazil britain brussels budapest bulgaria burma burundi
    cairo cambodia cameroon canada caracas chad chile china colombia congo crimea croatia cuba cyprus
    damascus delhi denmark doha donetsk dubai egypt england eritrea estonia ethiopia europe finland france
    gaza geneva georgia germany ghana greece guatemala guinea haiti hague hanoi havana helsinki honduras
    hungary iceland india indonesia iran iraq ireland islamabad israel istanbul italy jakarta japan
    jerusalem jordan kabul karachi kashmir kathmandu kazakhstan kenya khartoum kiev kinshasa kosovo kuwait
    kyiv kyrgyzstan laos latvia lebanon liberia libya lithuania london luxembourg madrid malaysia mali
    manila mexico minsk mogadishu moldova mongolia moscow mozambique myanmar namibia nepal netherlands
    nicaragua niger nigeria norway oman oslo ottawa pakistan palestine panama paris peru philippines
    poland portugal prague pretoria pyongyang qatar riyadh romania rome russia rwanda sarajevo senegal
    seoul serbia singapore slovakia slovenia somalia spain srebrenica stockholm sudan sweden switzerland
    syria taipei taiwan tajikistan tanzania tbilisi tehran thailand tibet tokyo tripoli tunis tunisia
    turkey turkmenistan uganda ukraine uruguay uzbekistan venezuela vienna vietnam warsaw washington yemen
    yerevan zagreb zambia zimbabwe afghan albanian algerian american arab argentine armenian asian
    australian austrian azerbaijani bahraini bangladeshi belarusian belgian bosnian brazilian british
    bulgarian burmese cambodian canadian chilean chinese colombian congolese croatian cuban cypriot czech
    danish dutch egyptian english eritrean ethiopian european filipino finnish french georgian german
    greek hungarian indian indonesian iranian iraqi irish islamic israeli italian japanese jewish
    jordanian kashmiri kazakh kenyan korean koreans kurdish kuwaiti lebanese libyan malaysian mexican
    moldovan mongolian moroccan muslim christian nepalese nigerian norwegian omani ottoman pakistani
    palestinian persian polish portuguese qatari romanian russian rwandan saudi scottish serbian somali
    soviet spanish sudanese swedish swiss syrian taiwanese thai tibetan tunisian turkish ugandan ukrainian
    uzbek venezuelan vietnamese western yemeni republican republicans democrat democrats jamaica barbados
    bahamas bhutan brunei botswana burkina cape comoros dominica dominican ecuador estonian fiji gabon
    gambia grenada guyana kong lanka lesotho macau macedonia macedonian madagascar malawi maldives malta
    mauritania mauritius micronesia monaco montenegro morocco nauru niamey papua paraguay rhodesia samoa
    suriname swaziland tobago togo tonga trinidad tuvalu vanuatu vatican zealand korea
    """
)
_OPENERS = _words(
    """
    a about above according across after again against ahead all almost along already also although always
    amid among an and another any are around as asked at away back because before behind being below
    beside besides between beyond both but by can could critics despite did do does down during each
    earlier either elsewhere even ever every except few finally for from given had has have he her here
    hers his how however i if in indeed inside instead into is it its just last later like many maybe me
    meanwhile more moreover most much my near neither nevertheless next nobody nonetheless nor not nothing
    now of off on once one only onto opposite or other others our out outside over per perhaps rather said
    says several she should since so some sometimes soon still such than thanks that the their them then
    there these they this those though through throughout thus to today together tomorrow too toward
    towards two under unless unlike until up upon versus very via was we well were what when where whereas
    whether which while who whom whose why will with within without would yes yesterday yet you your q
    """
)
_PARTICLES = _words("al bin bint da das de del della den der di dos du el ibn la le ould ter van von y zu")
_FAMILY_FIRST = _words(
    """
    ahn ban bui cao chen cheng cho choe choi chun chung dang deng do dong feng gao go guo han he ho hong
    hu hua huang hun hwang hyon jang jeong jiang jo jon jong jung kang kim ko kwon le lee li liang lim lin
    liu luo ma mao moon ngo nguyen no noh oh paek pak park peng pham phan ri rim ro roh ryu seo shin sin
    so sok son song suh sun tang tran truong u vo wang wen won wu xi xie xu yang yi yoo yoon yu yuan yun
    zhang zhao zheng zhou zhu
    """
)
_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|[^\W\d_](?:[^\W_]|['\u2019\u2010\u2011-](?=[^\W\d_]))*")
_SENTENCE_END = re.compile(r"(?:[.!?:;\u2026\u2014\u2013]|[\"\u201c\u2018(\[]|\s-)\W*$")
_POSSESSIVE = re.compile(r"(?:['\u2019]s|(?<=s)['\u2019])$")
_ARTICLE_PREFIX = re.compile(r"(?:[Aa]l|[Ee]l|[Uu]l|[Aa]s|[Aa]sh|[Aa]n|[Aa]d|[Aa]r)-(?=[^\W\d_a-z])")
_ORDINARY_ENDING = re.compile(r"(?:ing|ly|ed)$")
_RULE = re.compile(r"\s(?:administration|cabinet|campaign|era|family|government|leadership|presidency|regime|team)\b")
_MOST_WORDS = 4
_HEADLINE_SHARE = 0.6  # of capitalised words, from which on a text is a headline and its capitals say nothing


@dataclass(frozen=True, slots=True)
class Resolver:
    """The full names of one document, each as its words in order."""

    names: tuple[tuple[str, ...], ...]

    def resolve(self, mention: str) -> str | None:
        """The full name of which a mention gives the surname alone ("Darusman", "Mr. Darusman", "KOWALSKI").

        None where no full name of the document fits or several do, and where the mention is anything else than a
        surname: a full name, a given name, a place, an institution, a common noun, a pronoun.
        """
        words = _POSSESSIVE.sub("", mention.strip()).split()
        while len(words) > 1 and _plain(words[0]) in _TITLES:
            words = words[1:]
        if not words or any(word.lower() not in _PARTICLES for word in words[:-1]):
            return None
        surname = _ARTICLE_PREFIX.sub("", words[-1])
        shouted = len(surname) > 2 and surname.isupper()  # the label of a speaker in a transcript
        ordinary = not _may_be_name(surname) or surname.lower() in _OPENERS
        if ordinary or not (_is_capitalised(surname) or shouted):
            return None
        wanted = tuple(word.casefold() for word in (*words[:-1], surname))
        fitting = [name for name in self.names if _fits(name, wanted)]
        return " ".join(fitting[0]) if len(fitting) == 1 else None


def full_names(texts: Sequence[str]) -> Resolver:
    """Reads the full names of a document off its paragraphs; headlines among them are passed over."""
    tokens = [_tokens(text) for text in texts]
    lower = {word for found in tokens for _, _, word in found if word[0].islower()}
    names: dict[tuple[str, ...], None] = {}
    refused: set[tuple[str, ...]] = set()
    for text, found in zip(texts, tokens, strict=True):
        if _is_headline(text, found):
            continue
        for run in _runs(text, found):
            name, after_article = _name(text, found, run, lower)
            if after_article:
                refused.add(name)
            elif name:
                names[name] = None
    kept = [name for name in names if name not in refused]
    return Resolver(tuple(name for name in kept if not any(_is_part(name, other) for other in kept)))


def _tokens(text: str) -> list[tuple[int, int, str]]:
    """(start, end, word) of every word; a possessive ending is no part of the word."""
    found = []
    for match in _WORD.finditer(text):
        word = _POSSESSIVE.sub("", match[0])
        found.append((match.start(), match.start() + len(word), word))
    return found


def _is_headline(text: str, tokens: Sequence[tuple[int, int, str]]) -> bool:
    capitals = [word[0].isupper() for _, _, word in tokens if len(word) > 3]
    sentence = text.rstrip("\"'\u2019\u201d)] \n").endswith((".", "!", "?", "\u2026"))
    return not sentence and len(capitals) > 3 and sum(capitals) >= _HEADLINE_SHARE * len(capitals)


def _runs(text: str, tokens: Sequence[tuple[int, int, str]]) -> Iterator[list[int]]:
    """Numbers of the words of each stretch of capitalised words, particles between them included."""
    run: list[int] = []
    for number, (start, _, word) in enumerate(tokens):
        joined = bool(run) and _joins(text[tokens[number - 1][1] : start], tokens[number - 1][2])
        if run and not joined:
            yield _without_particles_at_end(run, tokens)
            run = []
        if _is_capitalised(_ARTICLE_PREFIX.sub("", word)) or (run and word in _PARTICLES):
            run.append(number)
        elif run:
            yield _without_particles_at_end(run, tokens)
            run = []
    if run:
        yield _without_particles_at_end(run, tokens)


def _joins(gap: str, before: str) -> bool:
    """Whether two words stand together: parted by one blank, or by a point that ends an initial or "Mr"."""
    abbreviated = len(before) == 1 or _plain(before) in _TITLES
    return (len(gap) == 1 and gap.isspace()) or (gap == ". " and abbreviated)


def _without_particles_at_end(run: list[int], tokens: Sequence[tuple[int, int, str]]) -> list[int]:
    while run and tokens[run[-1]][2] in _PARTICLES:
        run = run[:-1]
    return run


def _name(
    text: str, tokens: Sequence[tuple[int, int, str]], run: list[int], lower: set[str]
) -> tuple[tuple[str, ...], bool]:
    """The full name in a run of capitalised words, () if there is none; whether it has an article."""
    words = [tokens[number][2] for number in run]
    cut = max((place + 1 for place, word in enumerate(words) if not _may_be_name(word)), default=0)
    after_article = run[0] > 0 and tokens[run[0] - 1][2].lower() in ("the", "a", "an") and cut == 0
    first = words[0].lower()
    opens = _opens_sentence(text, tokens[run[0]][0])
    ordinary = opens and (first in lower or _ORDINARY_ENDING.search(first))
    if after_article and _RULE.match(text, tokens[run[-1]][1]):  # "the Kim Jong Un regime" has its own article
        after_article = False
    if cut == 0 and (ordinary or (first in _OPENERS and (opens or first not in _FAMILY_FIRST))):
        cut = 1
        after_article = first in ("the", "a", "an")
    while cut < len(words) and words[cut] in _PARTICLES:
        cut += 1
    name = tuple(f"{word}." if len(word) == 1 else word for word in words[cut:])
    capitalised = [word for word in name if word not in _PARTICLES]
    if not 2 <= len(capitalised) <= _MOST_WORDS or name[0] == name[-1] or name[-1].endswith("."):
        return (), False
    if all(word.endswith(".") for word in capitalised[:-1]):
        return (), False
    if all(word.lower() in lower for word in capitalised[:-1]):
        return (), False
    return name, after_article


def _opens_sentence(text: str, start: int) -> bool:
    before = text[max(0, start - 8) : start]
    return (start <= 8 and not any(map(str.isalnum, before))) or _SENTENCE_END.search(before) is not None


def _is_part(name: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether a name is a shorter form of another: its words, all of them in the other in the same order."""
    rest = iter(other)
    return len(name) < len(other) and all(word in rest for word in name)


def _fits(name: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether a name ends in the surname, or begins with it where family names come first."""
    folded = tuple(_ARTICLE_PREFIX.sub("", word).casefold() for word in name)
    family_first = folded[0] in _FAMILY_FIRST and folded[:1] == wanted
    return family_first or (len(folded) > len(wanted) and folded[-len(wanted) :] == wanted)


def _is_capitalised(word: str) -> bool:
    """Whether a word is written as names are: a capital, then not capitals alone (initials excepted)."""
    return word[:1].isupper() and (len(word) == 1 or not word.isupper())


def _plain(word: str) -> str:
    return word.lower().rstrip(".")


def _may_be_name(word: str) -> bool:
    plain = _plain(word)
    if plain in _TITLES or plain.removesuffix("s") in _TITLES or plain in _INSTITUTIONS:
        return False
    return _PLACES.isdisjoint(plain.split("-"))
