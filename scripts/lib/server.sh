# shellcheck shell=bash
# The servers of an instance one by one: start them, wait for them, stop them, kill them. Sourced by scripts/servers.

START_TIMEOUT_S=60

spawn_mongod() {
    local n=$1 args
    args=(--dbpath "$dir/mongod-$n" --port "${mongo_ports[n]}" --bind_ip 127.0.0.1 --nounixsocket
        --wiredTigerCacheSizeGB 0.25 --setParameter diagnosticDataCollectionEnabled=false
        # On SIGTERM a member otherwise waits 15 s for others to notice.
        --setParameter shutdownTimeoutMillisForSignaledShutdown=100)
    if [ -z "$standalone" ]; then args+=(--replSet rs0 --oplogSize "$oplog_mb"); fi
    if [ -n "$auth" ]; then
        if [ -z "$standalone" ]; then args+=(--keyFile "$dir/keyfile"); else args+=(--auth); fi
    fi
    remember_log "mongod-$n"
    spawn "$dir/mongod-$n.pid" "$dir/mongod-$n.log" \
        env LC_ALL=C ${mongod_libs:+"LD_LIBRARY_PATH=$mongod_libs"} "$mongod" "${args[@]}" "${mongod_args[@]}"
}

spawn_postgres() {
    local socket=$dir/socket
    # The path of a Unix socket has at most 107 bytes, of which PostgreSQL needs a few for the file's name.
    if [ ${#socket} -gt 85 ]; then socket=; fi
    remember_log postgres
    spawn "$dir/postgres.pid" "$dir/postgres.log" \
        env LC_ALL=C "$postgres_bin/postgres" -D "$dir/postgres" -c listen_addresses=127.0.0.1 -c port="$postgres_port" \
        -c unix_socket_directories="$socket" -c max_connections=60 "${postgres_args[@]}"
}

# A server's log goes on over restarts; what counts is what it says from here on.
declare -A log_start=()
remember_log() { log_start[$1]=$(($(stat -c %s "$dir/$1.log" 2>/dev/null || echo 0) + 1)); }

log_says() { tail -c "+${log_start[$1]}" "$dir/$1.log" | grep -E "$2" >/dev/null; }

# await_server NAME READY: waits until READY (a function) is true. Fails when the port was taken, and dies when the server
# does. That the process itself says it is ready matters: whatever else answers on the port might be somebody else's.
await_server() {
    local name=$1 ready=$2 pid deadline=$((SECONDS + START_TIMEOUT_S))
    pid=$(pid_in "$dir/$name.pid")
    until "$ready" "$name"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f "$dir/$name.pid"
            if log_says "$name" 'Address already in use'; then return 1; fi
            show_log "$name"
            die "$name ended instead of starting$(hint "$name")"
        fi
        if [ $SECONDS -gt $deadline ]; then
            show_log "$name"
            die "$name is not ready after $START_TIMEOUT_S s"
        fi
        sleep 0.05
    done
}

show_log() {
    say "the last lines of $1.log:"
    tail -c "+${log_start[$1]}" "$dir/$1.log" | tail -n 15 | cut -c 1-400 >&2
}

# What may be behind it when a server does not even start.
hint() {
    local program=$postgres_bin/postgres libs='' missing
    if [ "$1" != postgres ]; then
        program=$mongod libs=$mongod_libs
        if ! grep -w avx /proc/cpuinfo >/dev/null 2>&1; then printf '; MongoDB needs a processor with AVX'; fi
    fi
    missing=$(LD_LIBRARY_PATH=$libs ldd "$program" 2>/dev/null | awk '/=> not found/ { printf " %s", $1 }')
    if [ -n "$missing" ]; then printf '; libraries not found:%s' "$missing"; fi
}

# "Waiting for connections"
mongod_ready() { log_says "$1" '"id":23016'; }

# As pg_ctl does it: the postmaster writes its state on line 8 of the file.
postgres_ready() {
    local lines=()
    { mapfile -t lines <"$dir/postgres/postmaster.pid"; } 2>/dev/null || return 1
    [ "${lines[0]:-}" = "$(pid_in "$dir/postgres.pid")" ] && [[ ${lines[7]:-} = ready* ]]
}

await_mongod() { await_server "mongod-$1" mongod_ready; }

await_postgres() { await_server postgres postgres_ready; }

mongo() { node "$here/lib/mongo.mjs" "$@"; }

# Prints the number of the primary.
primary_member() {
    local host n
    find_running_hosts
    [ ${#running_hosts[@]} -gt 0 ] || die 'no member is running'
    host=$(mongo primary "${running_hosts[@]}")
    for n in "${!mongo_ports[@]}"; do
        if [ "127.0.0.1:${mongo_ports[n]}" = "$host" ]; then printf '%s\n' "$n"; fi
    done
}

# Sets running_hosts to the members that run.
find_running_hosts() {
    local n
    running_hosts=()
    for n in "${!mongo_ports[@]}"; do
        if is_ours "$(pid_in "$dir/mongod-$n.pid")" "$dir"; then running_hosts+=("127.0.0.1:${mongo_ports[n]}"); fi
    done
}

# change_mongo stop|kill|start MEMBER
change_mongo() {
    local action=$1 chosen n
    [ -n "$with_mongo" ] || die "the instance in $dir has no MongoDB"
    case $2 in
        all) chosen=("${!mongo_ports[@]}") ;;
        primary)
            [ "$action" != start ] || wrong_usage 'start-mongo wants a number or all'
            n=$(primary_member)
            chosen=("$n")
            ;;
        [0-9]) chosen=("$2") && [ -n "${mongo_ports[$2]:-}" ] || wrong_usage "there is no member $2" ;;
        *) wrong_usage 'MEMBER is a number, primary or all' ;;
    esac
    case $action in
        stop) for n in "${chosen[@]}"; do end_process TERM "$dir/mongod-$n.pid" "$dir"; done ;;
        kill) for n in "${chosen[@]}"; do end_process KILL "$dir/mongod-$n.pid" "$dir"; done ;;
        start) start_mongo "${chosen[@]}" ;;
    esac
}

start_mongo() {
    local n started=()
    for n; do
        if is_ours "$(pid_in "$dir/mongod-$n.pid")" "$dir"; then continue; fi
        spawn_mongod "$n"
        started+=("$n")
    done
    for n in "${started[@]}"; do
        await_mongod "$n" || die "port ${mongo_ports[n]} of member $n has been taken by another process"
    done
    find_running_hosts
    # With a majority there will be a primary.
    if [ -n "$standalone" ] || [ $((${#running_hosts[@]} * 2)) -le "$members" ]; then
        mongo await-answer "${running_hosts[@]}"
    else
        mongo await-members "${running_hosts[@]}"
    fi
}

# change_postgres stop|kill|start
change_postgres() {
    [ -n "$with_postgres" ] || die "the instance in $dir has no PostgreSQL"
    case $1 in
        # SIGINT: fast shutdown, which ends the sessions instead of waiting for them.
        stop) end_process INT "$dir/postgres.pid" "$dir" ;;
        kill) end_process KILL "$dir/postgres.pid" "$dir" ;;
        start)
            if is_ours "$(pid_in "$dir/postgres.pid")" "$dir"; then return; fi
            forget_dead_postgres
            spawn_postgres
            await_postgres || die "port $postgres_port of PostgreSQL has been taken by another process"
            ;;
    esac
}

# Removes what a PostgreSQL that was killed leaves behind: the System V segment (its id is in line 7 of the file), which
# nobody else would free, and its lock files, whose pid PostgreSQL takes for alive while it is a zombie that nobody reaps.
forget_dead_postgres() {
    local file=$dir/postgres/postmaster.pid id
    if [ ! -f "$file" ] || is_ours "$(head -n 1 "$file")" "$dir"; then return; fi
    id=$(sed -n '7s/.* //p' "$file")
    if [ -n "$id" ]; then ipcrm -m "$id" 2>/dev/null || true; fi
    rm -f "$file" "$dir"/socket/.s.PGSQL.*
}
