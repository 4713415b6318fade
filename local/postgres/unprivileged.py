"""Running a program as another user with setpriv: PostgreSQL refuses to run as root."""

import contextlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PASS_CLOSED_FOLDERS = (
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=-all,+dac_override",
    # Without it access(2), which PostgreSQL asks about its own programs, forgets the capability.
    "--securebits=+no_setuid_fixup",
)
"""The capability that the other user needs if the home or the program is in a folder like /root, closed to others."""


class UnprivilegedError(RuntimeError):
    """Root cannot run the program as another user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user who runs a program: the prefix of its command line, and the owner of its files (None: the caller)."""

    prefix: tuple[str, ...] = ()
    owner: pwd.struct_passwd | None = None

    def own(self, folder: Path) -> None:
        """Make this user the owner of the folder and its content, unless the user owns it already."""
        if self.owner is not None and self.owner.pw_uid != folder.stat().st_uid:
            subprocess.run(["chown", "-R", f"{self.owner.pw_uid}:{self.owner.pw_gid}", str(folder)], check=True)


def find_identity(program: Path, home: Path) -> Identity:
    """Return the user who runs the program with files in `home`: the caller, or another user if the caller is root."""
    if os.geteuid() != 0:
        return Identity()
    if shutil.which("setpriv") is None:
        raise UnprivilegedError(f"{program.name} refuses to run as root.\nNext: install setpriv, a part of util-linux.")
    user = _other_user(home)
    complaint = ""
    for capabilities in ((), PASS_CLOSED_FOLDERS):
        change = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *capabilities, "--")
        command = [*change, "/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(home), str(program)]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        # A program that cannot look into its own folder says so on standard error, and fails later.
        if tried.returncode == 0 and not tried.stderr:
            return Identity(prefix=change, owner=user)
        complaint = tried.stderr.strip() or f"exit code {tried.returncode}"
    raise UnprivilegedError(
        f"{program.name} refuses to run as root, and the user {user.pw_name} cannot run it in {home}: {complaint}\n"
        "Next: do this as an ordinary user, or set DISPATCHER_HOME to a folder that other users can enter."
    )


def _other_user(home: Path) -> pwd.struct_passwd:
    """Return the owner of the home, or `nobody` if that is root; initdb wants a user with a name."""
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(home.stat().st_uid)
        if owner.pw_uid != 0:
            return owner
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise UnprivilegedError("this system has no user `nobody`.\nNext: do this as an ordinary user.") from None
