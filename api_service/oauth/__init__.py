"""Logins of the providers that take a subscription's login instead of an API key.

credential_file, codex, claude    what the providers' own CLIs keep in a file
refresh                           a new access token: one process at a time, in a process of its own
refresher                         starts that process, once for all calls that wait for it
logins                            which login a call uses, and its headers
profile_store, profiles, service  named logins: kept, described, served
"""
