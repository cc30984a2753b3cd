"""Whom a request goes to: provider, model, address and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from api_service.oauth.credentials import Credentials
from api_service.oauth.logins import Login, Logins, turned_off
from api_service.providers.codec import Codec, Upstream
from api_service.providers.codecs import CODECS
from api_service.providers.route import route
from api_service.providers.table import CUSTOM, PROVIDERS, ProviderRow
from api_service.settings import ApiSettings
from marsys.v1 import ErrorReason, GenerateRequest, ProviderTarget
from serving.base_url import allowed_by, check_base_url, is_local_peer, is_pattern
from serving.errors import ServiceError, invalid, service_error, unsupported
from serving.generator import Call
from serving.logs import Redaction
from serving.reach import Reach

_VERSION = re.compile(r"/v\d+[a-z]*\d*$")
_DOT = re.compile(r"(?<=\d)\.(?=\d)")
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes.

    Attributes:
        upstream: provider and model, as codecs see them.
        codec: the provider's wire protocol.
        base_url: where the API is, without a trailing slash.
        headers: the row's headers, and the key.
        reach: which addresses the base URL may lead to.
        login: the login that signs the request; None: the headers hold all that it needs.
    """

    upstream: Upstream
    codec: Codec
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    reach: Reach = Reach.ANY
    login: Login | None = None

    def signed(self, credentials: Credentials) -> Target:
        """The target with a login in its headers."""
        row = self.upstream.row
        headers = {**self.headers, row.key_header: row.key_prefix + credentials.access_token}
        if row.account_header and credentials.account_id:
            headers[row.account_header] = credentials.account_id
        redact = Redaction([credentials.access_token])
        return replace(self, headers=headers, upstream=replace(self.upstream, redact=redact))

    def refusing(self, names: frozenset[str]) -> Target:
        """The target with another set of parameters that its model refuses."""
        return replace(self, upstream=replace(self.upstream, refused=names))

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self.upstream.row.name

    @property
    def model(self) -> str:
        """Name of the model at the provider."""
        return self.upstream.model


class Targets:
    """Finds targets.

    Args:
        settings: what the operator allows and adds.
        environ: environment variables; hold the service's keys.
        rows: the providers that are known before the operator adds any.
        logins: finds logins; None: they are off.
    """

    def __init__(
        self,
        settings: ApiSettings,
        environ: Mapping[str, str],
        rows: Mapping[str, ProviderRow] = PROVIDERS,
        logins: Logins | None = None,
    ) -> None:
        self._allowed = tuple(settings.allow_base_urls)
        self._trusts_local = settings.allow_loopback_callers and settings.loopback
        self._logins = logins
        self._rows = dict(rows)
        self._keys: dict[str, str] = {}
        for name, given in settings.providers.items():
            row = self._rows.get(name)
            if row is None:
                if given.base_url is None:
                    raise ValueError(f"providers.{name}: an added provider needs a base_url")
                row = replace(CUSTOM, name=name, needs_key=given.api_key_env is not None)
            if given.base_url is not None:
                row = replace(row, base_url=given.base_url)
            if given.api_key_env is not None:
                row = replace(row, key_env=given.api_key_env, other_key_envs=())
            self._rows[name] = row
            if given.api_key is not None:
                self._keys[name] = given.api_key.get_secret_value()
        for name, row in self._rows.items():
            for variable in (row.key_env, *row.other_key_envs):
                key = environ.get(variable, "").strip() if variable else ""
                if key and name not in self._keys:
                    self._keys[name] = key

    def resolve(self, request: GenerateRequest, call: Call) -> Target:
        """Whom the request goes to.

        Raises:
            ServiceError: no provider or model is named, the base URL is not allowed, or the
                provider's key is missing.
        """
        given = request.target
        if given.api_key and not _KEY.fullmatch(given.api_key):
            raise invalid("target.api_key", "must be printable ASCII without spaces")
        row, model = self._row_and_model(request)
        if row.login:
            return _for_json(request, self._with_login(row, model, given, call))
        for name in ("oauth_profile", "credentials_path"):
            if getattr(given, name):
                raise unsupported(f"target.{name}", "this provider takes API keys only")
        if given.base_url:
            base_url, reach = self._caller_base_url(given, call)
            key = given.api_key  # never the service's own
        else:
            base_url, reach = row.base_url, Reach.ANY
            key = given.api_key or self._key(row)
        return _for_json(request, _target(row, model, base_url, key, reach))

    def trusts(self, peer: str) -> bool:
        """Whether a caller, by its address as gRPC gives it, may name any address and any file."""
        return self._trusts_local and is_local_peer(peer)

    def listable(self) -> Iterator[Target]:
        """Providers whose models the service can list: it has the key or login that they need."""
        for name, row in sorted(self._rows.items()):
            key = self._keys.get(name, "")
            if row.login:
                if self._logins is not None and self._logins.usable(name):
                    yield self.provider(name, "provider")
            elif row.models_path and row.base_url and (key or not row.needs_key):
                yield _target(row, "", row.base_url, key)

    def provider(self, name: str, field_name: str) -> Target:
        """A provider by its name, without a model.

        Raises:
            ServiceError: there is none of the name, or its key is missing.
        """
        row = self._rows.get(name)
        if row is None:
            raise self._unknown(field_name, f"there is no provider {name!r}")
        if row.login:
            return self._with_login(row, "", ProviderTarget(), None)
        return _target(row, "", row.base_url, self._key(row))

    def _with_login(
        self, row: ProviderRow, model: str, given: ProviderTarget, call: Call | None
    ) -> Target:
        """A target whose requests a login signs."""
        if self._logins is None:
            raise turned_off(row.name)
        if given.api_key:
            raise unsupported("target.api_key", f"{row.name} takes a login, not a key")
        if given.base_url:
            raise service_error(
                ErrorReason.ERROR_REASON_NOT_ALLOWED,
                "target.base_url: a login goes to its own provider only",
                field="target.base_url",
                action="Leave it out; the operator sets another address for all callers.",
            )
        login = self._logins.find(row.name, given, call is not None and self.trusts(call.peer))
        return replace(_target(row, model, row.base_url, ""), login=login)

    def _row_and_model(self, request: GenerateRequest) -> tuple[ProviderRow, str]:
        given, model = request.target, request.model
        if given.provider:
            name = given.provider
            row = CUSTOM if name == CUSTOM.name and given.base_url else self._rows.get(name)
            if row is None:
                raise self._unknown("target.provider", f"there is no provider {name!r}")
        elif given.base_url:
            row = CUSTOM
        else:
            name, _, model = model.partition("/")
            found = self._rows.get(name)
            if found is None:
                raise self._unknown("model", f"{request.model!r} names no provider")
            row = found
        for prefix in row.strip:
            model = model.removeprefix(prefix)
        if not row.dotted_names:
            model = _DOT.sub("-", model)
        model = row.aliases.get(model, model)
        if not model:
            raise self._unknown("model", f"{request.model!r} names no model")
        return route(row, model, request), model

    def _caller_base_url(self, given: ProviderTarget, call: Call) -> tuple[str, Reach]:
        try:
            base_url = check_base_url(given.base_url)
        except ValueError as error:
            raise invalid("target.base_url", str(error)) from None
        if self.trusts(call.peer):
            return base_url, Reach.NETWORK
        found = allowed_by(base_url, self._allowed)
        if found is not None:
            # Who names a host knows where it is; of a pattern's hosts nobody knows that.
            return base_url, Reach.PUBLIC if is_pattern(found) else Reach.NETWORK
        raise service_error(
            ErrorReason.ERROR_REASON_NOT_ALLOWED,
            "target.base_url: callers may not set this address",
            field="target.base_url",
            action="Ask the operator of the service to add it to allow_base_urls.",
        )

    def _key(self, row: ProviderRow) -> str:
        key = self._keys.get(row.name, "")
        if key or not row.needs_key:
            return key
        raise service_error(
            ErrorReason.ERROR_REASON_AUTHENTICATION_FAILED,
            f"there is no API key for {row.name}: set {row.key_env} for the service, "
            "or target.api_key in the call",
            provider=row.name,
            action=f"Set {row.key_env} in the environment of the service, or send target.api_key.",
        )

    def _unknown(self, field_name: str, what: str) -> ServiceError:
        known = ", ".join(sorted(self._rows))
        return service_error(
            ErrorReason.ERROR_REASON_INVALID_MODEL,
            f"{field_name}: {what[:200]}",
            field=field_name,
            action=f'Name the model as "provider/model", with one of: {known}; '
            "or set target.provider.",
        )


def _for_json(request: GenerateRequest, target: Target) -> Target:
    """The target, told where the caller wants JSON."""
    if request.output_format.WhichOneof("format") in ("json_object", "json_schema"):
        return replace(target, upstream=replace(target.upstream, json_mode=True))
    return target


def _target(
    row: ProviderRow, model: str, base_url: str, key: str, reach: Reach = Reach.ANY
) -> Target:
    headers = dict(row.headers)
    if key:
        headers[row.key_header] = row.key_prefix + key

    def redact(text: str) -> str:
        return Redaction([key])(text)

    if row.base_suffix and not _VERSION.search(base_url):
        base_url += row.base_suffix
    return Target(Upstream(row, model, redact), CODECS[row.wire], base_url, headers, reach)
