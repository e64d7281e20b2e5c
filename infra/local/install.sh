#!/bin/sh
# Installs the system packages that the integration tests need, where they are missing (Debian, Ubuntu).
set -eu

missing=""
need() { # need PACKAGE PROBE...: the probe succeeds where the package, or another build of it, is there
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
library() { ldconfig -p | grep -q "$1"; }

need rabbitmq-server test -x /usr/lib/rabbitmq/bin/rabbitmq-server
need chromium test -x /usr/bin/chromium
need nginx-light test -x /usr/sbin/nginx
need prometheus test -x /usr/bin/prometheus
need nodejs command -v node
need npm command -v npm
need libcurl4 library libcurl.so.4
need libldap-2.5-0 library libldap-2.5.so.0
need libsasl2-2 library libsasl2.so.2

[ -n "$missing" ] || exit 0

echo "installing system packages:$missing"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
    command -v sudo >/dev/null || { echo "run as root, or install them yourself:$missing" >&2; exit 1; }
fi
export DEBIAN_FRONTEND=noninteractive RABBITMQ_SERVER_START=no
# The packages' own services must not start: the tests run servers of their own.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$guard" >/dev/null
    $as_root chmod +x "$guard"
    trap '$as_root rm -f "$guard"' EXIT
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
