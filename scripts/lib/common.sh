# shellcheck shell=bash
# Messages, and everything that touches a process. Sourced by scripts/servers.

# The user the servers run as when the caller is root: PostgreSQL refuses root, and neither server needs it.
NOBODY=65534

say() { printf '%s\n' "servers: $*" >&2; }

die() {
    say "$*"
    exit 1
}

is_root() { [ "$EUID" = 0 ]; }

# Runs a command as the user the servers run as.
as_server_user() {
    if is_root; then
        setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups -- "$@"
    else
        "$@"
    fi
}

# Makes a file or folder belong to the user the servers run as.
give_to_server_user() {
    if is_root; then chown -R $NOBODY:$NOBODY "$@"; fi
}

# spawn PID_FILE LOG COMMAND...: starts a server in a session of its own, so that neither Ctrl-C nor a closed pipe reaches
# it. Both setsid and setpriv replace themselves by what they run, so that the pid is the server's. Descriptors 8 and 9 are
# our locks: a server that inherited them would hold them for life.
spawned=()
spawn() {
    local pid_file=$1 log=$2
    shift 2
    local command=(setsid)
    if is_root; then command+=(setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups --); fi
    (
        ulimit -c 0
        # MongoDB ends when it may not open another file; an ordinary user often starts with 1024 and a higher hard limit.
        ulimit -n 64000 2>/dev/null || ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
        cd /
        exec "${command[@]}" "$@" </dev/null >>"$log" 2>&1 8>&- 9>&-
    ) &
    spawned+=($!)
    printf '%s\n' $! >"$pid_file"
    disown $!
}

# Prints the pid in a file, or nothing.
pid_in() {
    local pid=
    if [ -r "$1" ]; then read -r pid <"$1" || true; fi
    case $pid in '' | *[!0-9]*) ;; *) printf '%s' "$pid" ;; esac
}

# is_ours PID DIR: whether the process lives and has a path in DIR among its arguments. A pid that the system has given to
# somebody else in the meantime does not, and neither does a zombie.
is_ours() {
    [ -n "$1" ] && tr '\0' '\n' 2>/dev/null <"/proc/$1/cmdline" | grep -F -- "$2/" >/dev/null
}

# Prints the pids of the children of a process.
children_of() {
    local stat line fields
    for stat in /proc/[0-9]*/stat; do
        { IFS= read -r line <"$stat"; } 2>/dev/null || continue
        read -r -a fields <<<"${line##*) }"
        if [ "${fields[1]}" = "$1" ]; then printf '%s\n' "${line%% *}"; fi
    done
}

# is_gone PID: whether a process has ended. A zombie has, as soon as the last of its threads has.
is_gone() {
    local line fields
    { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    read -r -a fields <<<"${line##*) }"
    [ "${fields[0]}" = Z ] && [ "${fields[17]}" -le 1 ]
}

# Prints when a process was started, in the kernel's own measure; nothing if there is none.
start_time() {
    local line fields
    { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
    read -r -a fields <<<"${line##*) }"
    if [ "${fields[0]}" != Z ]; then printf '%s' "${fields[19]}"; fi
}

# await_gone SECONDS PID...
await_gone() {
    local deadline=$((SECONDS + $1)) pid
    shift
    for pid; do
        until is_gone "$pid"; do
            if [ $SECONDS -gt $deadline ]; then return 1; fi
            sleep 0.05
        done
    done
}

# end_process SIGNAL PID_FILE DIR: signals the process and waits for it to end. Its children are waited for as well, since
# a new server cannot start on the data before the last of them is gone; with KILL they are killed as in a power cut.
end_process() {
    local signal=$1 pid_file=$2 dir=$3 pid children=()
    pid=$(pid_in "$pid_file")
    if is_ours "$pid" "$dir"; then
        mapfile -t children < <(children_of "$pid")
        kill -s "$signal" "$pid" 2>/dev/null || true
        if [ "$signal" = KILL ] && [ ${#children[@]} -gt 0 ]; then kill -s KILL "${children[@]}" 2>/dev/null || true; fi
        if ! await_gone 60 "$pid" "${children[@]}"; then
            die "process $pid did not end within 60 s of SIG$signal, see the log in $dir"
        fi
    fi
    rm -f "$pid_file"
}

# A port that nobody listens on right now, below the range from which the system takes the ports of outgoing connections.
# Somebody may be faster than us: the server's own bind decides, and the caller tries another port.
free_port() {
    local port
    while :; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            printf '%s' "$port"
            return
        fi
    done
}
