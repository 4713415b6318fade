#!/bin/sh
# Exit code 75: try again later.  Any other but 0: failed, with the end of standard error as the reason.
service=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["payload"]["service"])') || exit 1
case "$service" in *[!A-Za-z0-9@._-]*) echo "no such service: $service" >&2; exit 2 ;; esac
command -v systemctl >/dev/null || { echo "there is no systemd on this machine" >&2; exit 2; }
systemctl restart -- "$service"
