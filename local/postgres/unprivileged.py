"""How root runs a program that refuses to run as root, as PostgreSQL does."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class UnprivilegedError(RuntimeError):
    """Root found no way to run the program as somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who runs a program: what stands before its command line, and the owner that its files need (None: the caller)."""

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def own(self, folder: Path) -> None:
        """Give the folder and all that is in it to this identity; cheap when the folder is its own already."""
        if self.owner is None or self.owner[0] == folder.stat().st_uid:
            return
        for place, _folders, files in os.walk(folder, topdown=False):
            for file in files:
                os.chown(Path(place, file), *self.owner, follow_symlinks=False)
            os.chown(place, *self.owner)


def find_identity(program: Path, home: Path) -> Identity:
    """Return who can run the program with files in `home`: the caller, unless that is root.

    Root tries, in this order: a plain change of user, which fails where `home` or the program lies in a folder that is
    closed to others, as /root is; a user namespace, in which root has another name (containers often forbid it); a
    change of user that keeps the one capability to pass closed folders.
    """
    if os.geteuid() != 0:
        return Identity()
    complaints: list[str] = []
    for candidate in _candidates(home):
        complaint = _complaint(candidate, program, home)
        if complaint is None:
            return candidate
        complaints.append(complaint)
    raise UnprivilegedError(
        f"{program.name} refuses to run as root, and root found nobody else to run it with files in {home}:\n"
        + "\n".join(f"  {complaint}" for complaint in complaints)
        + "\nNext: do this as an ordinary user, in a folder of that user."
    )


def _candidates(home: Path) -> Iterator[Identity]:
    uid, gid = _somebody(home)
    change = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    yield Identity(prefix=(*change, "--"), owner=(uid, gid))
    yield Identity(prefix=("unshare", "--user", f"--map-user={uid}", f"--map-group={gid}", "--"), owner=(0, 0))
    # no_setuid_fixup: without it access(2), which PostgreSQL asks about its own programs, forgets the capability.
    keep = ("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--securebits=+no_setuid_fixup")
    yield Identity(prefix=(*change, *keep, "--"), owner=(uid, gid))


def _somebody(home: Path) -> tuple[int, int]:
    """Return a user and a group other than root, known by name, since initdb asks for its own name."""
    known = {entry.pw_uid: entry for entry in pwd.getpwall()}
    owner = known.get(home.stat().st_uid)
    if owner is not None and owner.pw_uid != 0:
        return owner.pw_uid, owner.pw_gid
    by_name = {entry.pw_name: entry for entry in known.values()}
    entry = by_name.get("postgres") or by_name.get("nobody")
    if entry is None:
        raise UnprivilegedError(
            "this system has neither a user `postgres` nor `nobody`.\nNext: do this as an ordinary user."
        )
    return entry.pw_uid, entry.pw_gid


def _complaint(candidate: Identity, program: Path, home: Path) -> str | None:
    """Try it: return why this identity can not reach the home or run the program, or None when it can."""
    tool = candidate.prefix[0]
    if shutil.which(tool) is None:
        return f"{tool}: not found (it is part of util-linux)"
    command = [*candidate.prefix, "/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(home), str(program)]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    # A program that can not examine its own folder says so on standard error, and goes on to fail later.
    if tried.returncode == 0 and not tried.stderr:
        return None
    return f"{' '.join(candidate.prefix[:-1])}: {tried.stderr.strip() or f'exit code {tried.returncode}'}"
