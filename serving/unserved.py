"""Answers of a service for RPCs that it doesn't serve: UNIMPLEMENTED, with details."""

from __future__ import annotations

from typing import Any

from marsys.v1.oauth_service_pb2_grpc import OAuthServiceServicer
from serving.errors import not_served
from serving.handlers import Context, unary_rpc


def _unserved(rpc: str) -> Any:
    @unary_rpc
    async def refuse(self: object, request: object, context: Context) -> None:
        raise not_served(rpc)

    return refuse


class UnservedOAuthService(OAuthServiceServicer):
    """OAuthService of a service that has no logins."""

    ListProfiles = _unserved("ListProfiles")
    GetProfile = _unserved("GetProfile")
    AddProfile = _unserved("AddProfile")
    RemoveProfile = _unserved("RemoveProfile")
    SetDefaultProfile = _unserved("SetDefaultProfile")
    RefreshProfile = _unserved("RefreshProfile")
