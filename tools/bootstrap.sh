#!/bin/bash
# From a fresh Debian 12 to a result: installs what is missing, builds, and runs one of two things.
#
#   tools/bootstrap.sh run    release build; the paper's 27 depthwise + 1x1 layers: compiled, checked, timed against
#                             oneDNN
#   tools/bootstrap.sh test   release build; the tests
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build pkg-config libxbyak-dev libxsmm-dev doctest-dev libhwloc-dev libdnnl-dev libzydis-dev
          libcli11-dev nlohmann-json3-dev libfmt-dev libtbb-dev gnuplot-nox dpkg-dev file)

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "Installing: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

build() {
    cmake --preset release
    cmake --build --preset release
}

case "${1:-}" in
    run)
        install_packages
        build
        build/release/tandem check --suite paper-dw --layout blocked
        build/release/tandem bench --suite paper-dw --layout blocked
        ;;
    test)
        install_packages
        build
        ctest --preset release
        ;;
    *)
        echo "tools/bootstrap.sh: the argument is '${1:-}'; accepted: run, test." >&2
        exit 2
        ;;
esac
