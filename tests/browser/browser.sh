#!/usr/bin/env bash
# A real browser without a window: Chromium and its driver, from Debian or Ubuntu.
#
#   browser.sh install     the packages, where they are not there yet (root, apt-get)
#
# Exit code 77 (as test harnesses have it): a browser cannot be had here; the reason is printed.
set -euo pipefail

unfit() {
    echo "browser.sh: no Chromium here: $*" >&2
    exit 77
}

there() {
    [ -x "$(command -v chromium)" ] && [ -x "$(command -v chromedriver)" ]
}

install_packages() {
    if there; then return; fi
    [ "$(id -u)" = 0 ] || unfit "only root can install it"
    command -v apt-get >/dev/null || unfit "there is no apt-get to install chromium and chromium-driver with"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; } >/dev/null 2>&1 ||
        unfit "apt-get cannot install chromium and chromium-driver"
    there || unfit "the packages brought no chromium and chromedriver" # Ubuntu's lead to a snap
}

case "${1:-} $#" in
"install 1") install_packages ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
