# shellcheck shell=bash
# One instance: its folder, its servers, their life. Sourced by scripts/servers.
#
# The folder, which belongs to the caller, while the data folders belong to the user the servers run as:
#   instance                what was asked for; written first, and never is a folder without it removed
#   env                     the lines that `up` prints; written last, so that it is there once everything answers
#   mongod-N, postgres      data;  mongod-N.log, postgres.log: logs;  mongod-N.pid, postgres.pid: while started
#   keyfile, socket         the replica set's key with --auth; PostgreSQL's Unix socket

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
            options | members | standalone | auth | with_mongo | with_postgres | oplog_mb) printf -v "$key" '%s' "$value" ;;
            postgres_port | mongod | mongod_libs | postgres_bin) printf -v "$key" '%s' "$value" ;;
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
            is_ours "$(pid_in "$pid_file")" "$dir" || die "the instance in $dir is not running;" \
                "start its servers again with start-mongo and start-postgres, or take it down"
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
        if [ -n "$with_postgres" ]; then
            printf 'POSTGRES_URI=postgres://tailwater@127.0.0.1:%s/warehouse\n' "$postgres_port"
        fi
    } >"$dir/env.new"
    mv "$dir/env.new" "$dir/env"
}

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
