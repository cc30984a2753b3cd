"""Logins of the providers that take a subscription's login instead of an API key.

codex, claude, kinds              what the providers' own CLIs keep, and where
credential_file                   such a file: read whole, replaced whole
refresh                           a new access token: one process at a time, in a process of its own
refresher                         starts that process, once for all calls that wait for it
logins                            which login a call uses, and that it is fresh
profile_store, profiles, service  named logins: kept, described, served
"""
