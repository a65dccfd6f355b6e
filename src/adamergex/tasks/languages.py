"""Language codes: data sets write Swahili as `sw` or as `swh_Latn`; a recipe may use either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from adamergex.errors import InputError

__all__ = ["CODES", "code_for", "filled", "known_languages", "language_name", "spellings"]

_FLORES = {
    "am": "amh_Ethi", "ar": "arb_Arab", "az": "azj_Latn", "bg": "bul_Cyrl", "bn": "ben_Beng",
    "de": "deu_Latn", "el": "ell_Grek", "en": "eng_Latn", "es": "spa_Latn", "et": "est_Latn",
    "fa": "pes_Arab", "fr": "fra_Latn", "gu": "guj_Gujr", "ha": "hau_Latn", "hi": "hin_Deva",
    "ht": "hat_Latn", "id": "ind_Latn", "ig": "ibo_Latn", "it": "ita_Latn", "ja": "jpn_Jpan",
    "ko": "kor_Hang", "mr": "mar_Deva", "my": "mya_Mymr", "ne": "npi_Deva", "pa": "pan_Guru",
    "pt": "por_Latn", "qu": "quy_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "si": "sin_Sinh",
    "so": "som_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "th": "tha_Thai",
    "tr": "tur_Latn", "uk": "ukr_Cyrl", "ur": "urd_Arab", "uz": "uzn_Latn", "vi": "vie_Latn",
    "yo": "yor_Latn", "zh": "zho_Hans", "zu": "zul_Latn",
}  # fmt: skip
_ISO = {flores: iso for iso, flores in _FLORES.items()}

CODES = ("iso", "flores")
"""The two ways to write a code: ISO 639-1 (`sw`), and that of FLORES (`swh_Latn`)."""
_PLACE = re.compile(r"(?<!\{)\{language\}(?!\})")


def code_for(language: str, codes: str | None) -> str:
    """The code of a language in the way that a data set writes it.

    Args:
        language: A code of either kind. One that is not in the table is left as it is.
        codes: `iso` or `flores`; None leaves every code as it is.
    """
    if codes is None:
        return language
    if codes not in CODES:
        raise InputError("codes", found=codes, needed=" or ".join(CODES))
    return (_FLORES if codes == "flores" else _ISO).get(language, language)


def filled(value: Any, language: str) -> Any:
    """`value` with `{language}` replaced by the code, at any depth; `{{language}}` stays."""
    if isinstance(value, str):
        return _PLACE.sub(language, value)
    if isinstance(value, Mapping):
        return {key: filled(inner, language) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, language) for inner in value]
    return value


def known_languages() -> list[str]:
    """The codes of ISO 639-1 that have another in `code_for`."""
    return list(_FLORES)


@lru_cache
def spellings(code: str) -> tuple[str, ...]:
    """How names of tasks write a language, the likelier first: sw, swh_Latn, swh, swa, swahili."""
    iso, flores = code_for(code, "iso"), code_for(code, "flores")
    language = _language(code)
    words = []
    if language is not None:
        name = language.language_name()
        words = [language.to_alpha3(), name.lower(), name]
    return tuple(dict.fromkeys([code, iso, flores, flores.partition("_")[0], *words]))


@lru_cache
def language_name(code: str) -> str:
    """The English name of a language: Swahili for swh_Latn or sw; the code itself if unknown."""
    language = _language(code)
    return code if language is None else language.language_name()


def _language(code: str) -> Any:
    """What langcodes knows of it: a language of a larger one as that, swh as sw."""
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        standard = langcodes.standardize_tag(code.replace("_", "-"), macro=True)
    except LanguageTagError:
        return None
    language = langcodes.Language.get(standard)
    return language if language.is_valid() else None
