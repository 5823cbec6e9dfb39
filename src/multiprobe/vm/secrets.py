"""Lists the files and directories of this machine that are known to hold secrets: passwords, private keys, tokens.

A guest sees them empty, unless it is given them (`--share-secrets`). The list is of usual paths, not of all secrets.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Patterns of pathlib, below the root.
OF_THE_SYSTEM = (
    *("etc/shadow*", "etc/gshadow*", "etc/security/opasswd", "etc/krb5.keytab", "etc/ssh/ssh_host_*_key"),
    *("etc/ssl/private", "etc/pki/tls/private", "etc/letsencrypt", "etc/wireguard", "etc/openvpn", "etc/ppp/*-secrets"),
    *("etc/ipsec.secrets", "etc/NetworkManager/system-connections", "etc/wpa_supplicant", "etc/kubernetes"),
    *("etc/apt/auth.conf", "etc/apt/auth.conf.d", "etc/credstore*", "var/lib/systemd/credential.secret"),
    *(
        "etc/mysql/debian.cnf",
        "etc/postfix/sasl_passwd*",
        "etc/exim4/passwd.client",
        "etc/bind/rndc.key",
        "etc/rancher",
    ),
    *(
        "etc/ceph/*.keyring",
        "etc/docker/key.json",
        "var/lib/rancher",
        "var/lib/samba/private",
        "var/lib/cloud/instances",
    ),
    *("var/lib/sss/secrets", "run/secrets", "run/credentials", "run/agenix", "var/lib/kubelet"),
)
#: The same, below each user's home directory.
OF_A_USER = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".git-credentials", ".pgpass", ".my.cnf"),
    *(".pypirc", ".npmrc", ".cargo/credentials*", ".config/gcloud", ".config/gh", ".config/git/credentials"),
    *(".password-store", ".local/share/keyrings", ".vault-token", ".terraform.d", ".mozilla", ".config/chromium"),
    *(".config/google-chrome", ".thunderbird", ".bash_history", ".zsh_history", ".python_history"),
    *(".local/share/fish/fish_history", ".psql_history", ".mysql_history", ".sqlite_history", ".node_repl_history"),
    *(".config/rclone", ".config/op", ".config/sops", ".config/hub", ".config/containers/auth.json", ".config/doctl"),
    *(".oci", ".s3cfg", ".boto", ".gem/credentials", ".m2/settings.xml", ".subversion/auth", ".config/Bitwarden*"),
)


def find(root: Path = Path("/"), homes: Iterable[str] | None = None) -> list[str]:
    """The paths of those that exist, without symbolic links in them."""
    directories = [root / home.lstrip("/") for home in dict.fromkeys(_homes() if homes is None else homes)]
    searched = [(root, OF_THE_SYSTEM), *((directory, OF_A_USER) for directory in directories)]
    found = {os.path.realpath(path) for directory, patterns in searched for path in _matches(directory, patterns)}
    return sorted(found)


def _homes() -> Iterator[str]:
    """The home directories of all users, and what else looks like one; "/" is the home of some services."""
    yield from (user.pw_dir for user in pwd.getpwall() if user.pw_dir.strip("/"))
    yield from map(str, Path("/home").glob("*"))
    yield "/root"


def _matches(directory: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in directory.glob(pattern) if os.path.exists(path))  # not of what is unreadable
