"""OAuthService: the profiles, for whoever may manage them."""

from __future__ import annotations

from collections.abc import Callable

from api_service.oauth.logins import Logins
from api_service.oauth.profiles import Profiles
from marsys.v1 import (
    AddProfileRequest,
    AddProfileResponse,
    ErrorReason,
    GetProfileRequest,
    GetProfileResponse,
    ListProfilesRequest,
    ListProfilesResponse,
    RefreshProfileRequest,
    RefreshProfileResponse,
    RemoveProfileRequest,
    RemoveProfileResponse,
    SetDefaultProfileRequest,
    SetDefaultProfileResponse,
)
from marsys.v1.oauth_service_pb2_grpc import OAuthServiceServicer
from serving.errors import service_error
from serving.handlers import Context, unary_rpc


class LoginProfiles(OAuthServiceServicer):
    """Serves OAuthService.

    Args:
        profiles: the profiles.
        logins: judges the paths that callers name.
        is_trusted: whether a caller, by its address, may name any path.
        allow_remote: whether callers that aren't trusted may manage profiles at all.
    """

    def __init__(
        self,
        profiles: Profiles,
        logins: Logins,
        is_trusted: Callable[[str], bool],
        allow_remote: bool,
    ) -> None:
        self._profiles = profiles
        self._logins = logins
        self._is_trusted = is_trusted
        self._allow_remote = allow_remote

    @unary_rpc
    async def ListProfiles(
        self, request: ListProfilesRequest, context: Context
    ) -> ListProfilesResponse:
        """The profiles of a provider, or of all."""
        self._admit(context)
        return ListProfilesResponse(profiles=await self._profiles.list(request.provider))

    @unary_rpc
    async def GetProfile(self, request: GetProfileRequest, context: Context) -> GetProfileResponse:
        """One profile, or the login that calls use which name none."""
        self._admit(context)
        return GetProfileResponse(profile=await self._profiles.get(request.provider, request.name))

    @unary_rpc
    async def AddProfile(self, request: AddProfileRequest, context: Context) -> AddProfileResponse:
        """A profile of a login that the provider's CLI has made."""
        trusted = self._admit(context)
        path = request.credentials_path
        if path:
            path = str(self._logins.allowed_path(path, trusted, "credentials_path"))
        return AddProfileResponse(
            profile=await self._profiles.add(
                request.provider,
                request.name,
                path,
                description=request.description,
                set_default=request.set_default,
            )
        )

    @unary_rpc
    async def RemoveProfile(
        self, request: RemoveProfileRequest, context: Context
    ) -> RemoveProfileResponse:
        """The profile goes, its file stays."""
        self._admit(context)
        await self._profiles.remove(request.provider, request.name)
        return RemoveProfileResponse()

    @unary_rpc
    async def SetDefaultProfile(
        self, request: SetDefaultProfileRequest, context: Context
    ) -> SetDefaultProfileResponse:
        """The profile that calls use which name none."""
        self._admit(context)
        return SetDefaultProfileResponse(
            profile=await self._profiles.set_default(request.provider, request.name)
        )

    @unary_rpc
    async def RefreshProfile(
        self, request: RefreshProfileRequest, context: Context
    ) -> RefreshProfileResponse:
        """A new access token, now."""
        self._admit(context)
        return RefreshProfileResponse(
            profile=await self._profiles.refresh(request.provider, request.name)
        )

    def _admit(self, context: Context) -> bool:
        """Whether the caller is trusted.

        Raises:
            ServiceError: it may not manage profiles.
        """
        trusted = self._is_trusted(context.peer())
        if not trusted and not self._allow_remote:
            raise service_error(
                ErrorReason.ERROR_REASON_NOT_ALLOWED,
                "callers on other machines may not manage logins",
                action="Run `marsys oauth` on the machine of the service, or ask its operator to "
                "set allow_remote_logins.",
            )
        return trusted
