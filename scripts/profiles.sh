# Sourced: the profiles of compose.yaml that this checkout's cluster has, kept as COMPOSE_PROFILES in .env, where every `docker compose` finds them.
env_file=.env
profiles=${COMPOSE_PROFILES-$(sed -n 's/^COMPOSE_PROFILES=//p' "$env_file" 2>/dev/null || true)}

has_profile() { [[ ",$profiles," == *",$1,"* ]]; }

# For this script's commands and for all later ones.
add_profile() {
    has_profile "$1" || profiles=${profiles:+$profiles,}$1
    export COMPOSE_PROFILES=$profiles
    touch "$env_file"
    sed -i '/^COMPOSE_PROFILES=/d' "$env_file"
    echo "COMPOSE_PROFILES=$profiles" >>"$env_file"
}
