# shellcheck shell=bash
# What a fresh machine may lack for building and for fetching the servers. Sourced by scripts/demo and scripts/test; what
# the servers themselves need is checked by scripts/servers.

missing=()

need() { command -v "$1" >/dev/null || missing+=("$1 ($2)"); }

need_build() {
    local wanted have
    need cc 'apt-get install gcc libc6-dev'
    if ! command -v cargo >/dev/null; then
        missing+=('cargo (install Rust with rustup)')
        return
    fi
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(rustc --version 2>/dev/null) || have='rustc 0'
    read -r _ have _ <<<"$have"
    if [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
        missing+=("Rust $wanted or later, this is $have (install it with rustup, or rustup update)")
    fi
}

need_servers() {
    if [ "${TAILWATER_EXTERNAL:-}" = 1 ]; then return; fi
    need node 'apt-get install nodejs'
    if [ -z "${MONGOD:-}" ] || [ -z "${POSTGRES_BIN:-}" ]; then need npm 'apt-get install npm'; fi
}

# end_if_missing SCRIPT: names everything that is missing, and ends.
end_if_missing() {
    if [ ${#missing[@]} -gt 0 ]; then
        printf "$1: missing %s\n" "${missing[@]}" >&2
        exit 1
    fi
}
