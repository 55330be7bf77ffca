# shellcheck shell=bash
# One instance: its folder, its servers, their life. Sourced by scripts/servers.
#
# The folder, which belongs to the caller, while the data folders belong to the user the servers run as:
#   instance                what was asked for; written first, and never is a folder without it removed
#   env                     the lines that `up` prints; written last, so that it is there once everything answers
#   mongod-N, postgres      data;  mongod-N.log, postgres.log: logs;  mongod-N.pid, postgres.pid: while started
#   keyfile, socket         the replica set's key with --auth; PostgreSQL's Unix socket

START_TIMEOUT_S=60

dir=
options=
made=
undo=
building=
members=1
standalone=
auth=
with_mongo=yes
with_postgres=yes
oplog_mb=256
mongod_args=()
postgres_args=()
mongo_ports=()
postgres_port=
running_hosts=()
for_pid=
for_pid_started=

absolute() { realpath -ms -- "$1"; }

# The folder of an instance, from a path (which has a slash) or a name.
instance_dir() {
    case $1 in
        */*) absolute "$1" ;;
        '' | *[!A-Za-z0-9_.-]* | .*) die "\"$1\" is neither a folder nor a name made of letters, digits, '_', '-' and '.'" ;;
        *) printf '%s/instance-%s-%s' "$cache" "$1" "$EUID" ;;
    esac
}

lock_instance() {
    exec 8<"$dir"
    if ! flock -w 120 8; then die "another command has been at work on $dir for two minutes"; fi
    [ "$dir" -ef /proc/self/fd/8 ] || die "the instance in $dir has just been removed"
}

write_instance() {
    local arg
    {
        printf 'options=%s\n' "$1"
        printf '%s=%s\n' members "$members" standalone "$standalone" auth "$auth" with_mongo "$with_mongo" \
            with_postgres "$with_postgres" oplog_mb "$oplog_mb" postgres_port "$postgres_port" mongod "$mongod" \
            mongod_libs "$mongod_libs" postgres_bin "$postgres_bin"
        for arg in "${mongod_args[@]}"; do printf 'mongod_arg=%s\n' "$arg"; done
        for arg in "${postgres_args[@]}"; do printf 'postgres_arg=%s\n' "$arg"; done
        for arg in "${mongo_ports[@]}"; do printf 'mongo_port=%s\n' "$arg"; done
    } >"$dir/instance.new"
    mv "$dir/instance.new" "$dir/instance"
}

# Read line by line, not sourced: a folder somebody hands us does not get to run commands.
read_instance() {
    local key value
    mongod_args=() postgres_args=() mongo_ports=()
    while IFS='=' read -r key value; do
        case $key in
            members | standalone | auth | with_mongo | with_postgres | oplog_mb | postgres_port | mongod | mongod_libs | postgres_bin)
                printf -v "$key" '%s' "$value"
                ;;
            options) options=$value ;;
            mongod_arg) mongod_args+=("$value") ;;
            postgres_arg) postgres_args+=("$value") ;;
            mongo_port) mongo_ports+=("$value") ;;
        esac
    done <"$dir/instance"
}

# bring_up OPTIONS: leaves the instance in dir running, with an env file. An instance that is up already with the same
# options is left as it is.
bring_up() {
    case $dir in *[!A-Za-z0-9/_.,+@-]*) die "the folder $dir has characters that a line to eval could not carry" ;; esac
    if [ ! -e "$dir" ]; then made=$dir; fi
    mkdir -p "$dir"
    lock_instance
    if [ -f "$dir/instance" ] && is_up "$1"; then return; fi
    if [ -n "$(ls -A "$dir")" ]; then die "$dir is not empty, and not an instance"; fi
    undo=yes
    if is_root; then chmod 711 "$dir"; else chmod 700 "$dir"; fi
    write_instance "$1"
    if is_root && ! as_server_user test -x "$dir"; then
        die "the servers run as user $NOBODY when started by root, and that user cannot look into $dir"
    fi
    start_everything "$1"
    write_env
    undo=
    if [ -n "$for_pid" ]; then watch_pid; fi
}

# is_up OPTIONS: whether the instance in dir runs. What is left of an `up` that was killed is removed.
is_up() {
    local wanted=$1 pid_file
    if [ ! -f "$dir/env" ]; then
        say "removing what an interrupted start left in $dir"
        end_servers
        find "$dir" -mindepth 1 -delete
        return 1
    fi
    (
        read_instance
        [ "$options" = "$wanted" ] || die "the instance in $dir is up with other options ($options); take it down first"
        for pid_file in $(pid_files); do
            is_ours "$(pid_in "$pid_file")" "$dir" \
                || die "the instance in $dir is not running; start its servers again with start-mongo and start-postgres, or take it down"
        done
        say "already up in $dir"
    ) || exit
}

# The pid files that an instance has while everything runs.
pid_files() {
    local n
    if [ -n "$with_mongo" ]; then for ((n = 0; n < members; n++)); do printf '%s/mongod-%s.pid\n' "$dir" "$n"; done; fi
    if [ -n "$with_postgres" ]; then printf '%s/postgres.pid\n' "$dir"; fi
}

start_everything() {
    local n
    if [ -n "$with_mongo" ]; then
        for ((n = 0; n < members; n++)); do
            mongo_ports[n]=$(free_port)
            mkdir -m 700 "$dir/mongod-$n"
            give_to_server_user "$dir/mongod-$n"
        done
        if [ -n "$auth" ]; then write_keyfile; fi
        for ((n = 0; n < members; n++)); do spawn_mongod "$n"; done
    fi
    if [ -n "$with_postgres" ]; then
        mkdir -m 700 "$dir/socket"
        give_to_server_user "$dir/socket"
        new_postgres_data "$dir/postgres"
        postgres_port=$(free_port)
        spawn_postgres
    fi
    # Until here nobody knows the ports, so that a server which found its port taken can have another.
    if [ -n "$with_mongo" ]; then
        for ((n = 0; n < members; n++)); do
            until await_mongod "$n"; do
                mongo_ports[n]=$(free_port)
                spawn_mongod "$n"
            done
        done
        form_replica_set
    fi
    if [ -n "$with_postgres" ]; then
        until await_postgres; do
            postgres_port=$(free_port)
            spawn_postgres
        done
    fi
    write_instance "$1"
}

write_keyfile() {
    (umask 077 && head -c 96 /dev/urandom | base64 -w 0 >"$dir/keyfile")
    chmod 400 "$dir/keyfile"
    give_to_server_user "$dir/keyfile"
}

form_replica_set() {
    local hosts
    mapfile -t hosts < <(printf '127.0.0.1:%s\n' "${mongo_ports[@]}")
    if [ -z "$standalone" ]; then mongo initiate "${hosts[@]}"; fi
    if [ -n "$auth" ]; then mongo create-users "${hosts[@]}"; fi
}

mongo() { node "$here/lib/mongo.mjs" "$@"; }

write_env() {
    local hosts user='' query=''
    {
        printf 'TAILWATER_SERVERS_DIR=%s\n' "$dir"
        if [ -n "$with_mongo" ]; then
            hosts=$(printf ',127.0.0.1:%s' "${mongo_ports[@]}")
            if [ -n "$auth" ]; then user=admin:secret@; fi
            if [ -z "$standalone" ]; then query='?replicaSet=rs0'; fi
            printf 'MONGODB_URI=mongodb://%s%s/%s\n' "$user" "${hosts#,}" "$query"
        fi
        if [ -n "$with_postgres" ]; then printf 'POSTGRES_URI=postgres://tailwater@127.0.0.1:%s/warehouse\n' "$postgres_port"; fi
    } >"$dir/env.new"
    mv "$dir/env.new" "$dir/env"
}

# --- One server ---

spawn_mongod() {
    local n=$1 args
    args=(--dbpath "$dir/mongod-$n" --port "${mongo_ports[n]}" --bind_ip 127.0.0.1 --nounixsocket --wiredTigerCacheSizeGB 0.25
        --setParameter diagnosticDataCollectionEnabled=false
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

# --- Commands on an instance ---

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

# --- The end ---

# Ends every server at once, without care for the data.
end_servers() {
    local pid_file signal
    forget_dead_postgres
    for pid_file in "$dir"/*.pid; do
        case $pid_file in
            */watch.pid) continue ;;
            # SIGQUIT: PostgreSQL ends at once, but gives its shared memory back.
            */postgres.pid) signal=QUIT ;;
            *) signal=KILL ;;
        esac
        if [ -e "$pid_file" ]; then end_process "$signal" "$pid_file" "$dir"; fi
    done
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

# Waits until what has just been spawned is recognisable as ours, or gone.
settle() {
    local pid
    for pid in "${spawned[@]}"; do
        until is_ours "$pid" "$dir" || is_gone "$pid"; do sleep 0.01; done
    done
}

remove_instance() {
    local watch
    watch=$(pid_in "$dir/watch.pid")
    end_servers
    rm -rf "$dir"
    # Last, since it may be the watch itself that takes the instance down.
    if is_ours "$watch" "$dir"; then kill "$watch" 2>/dev/null || true; fi
}

# Leaves a process behind that takes the instance down when the process for_pid has ended. The start time tells that one
# from a later one with the same pid.
watch_pid() {
    local loop='. "$1"; while [ "$(start_time "$2")" = "$3" ]; do sleep 1; done; exec "$4" down "$5"'
    (
        cd /
        exec setsid bash -c "$loop" watch "$here/lib/common.sh" "$for_pid" "$for_pid_started" "$here/servers" "$dir/" \
            </dev/null >/dev/null 2>&1 8>&- 9>&-
    ) &
    printf '%s\n' $! >"$dir/watch.pid"
    disown $!
}
