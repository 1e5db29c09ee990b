# Debian roots made from the machine's own package sources.

# debian_mirror: print the mirror this machine takes Debian's packages from.
debian_mirror() {
    local mirror
    mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian|Debian|//p' | head -n 1)
    # Nothing is listed before the first `apt-get update`.
    if [ -z "$mirror" ]; then
        apt-get update -q >&2
        mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
            sed -n 's/^Debian|Debian|//p' | head -n 1)
    fi
    [ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources (/etc/apt/sources.list*)"
    printf '%s\n' "$mirror"
}

# debian_root DIRECTORY VARIANT PACKAGES OPTION...: make a Debian 13 root with
# the mirror, keys, proxy and time checks of this machine's apt.
debian_root() {
    local directory=$1 variant=$2 packages=$3 mirror work
    shift 3
    mirror=$(debian_mirror)
    work=$(mktemp -d)
    chmod 755 "$work" # apt reads its keys as its own user
    printf 'deb %s trixie main\ndeb %s trixie-backports main\n' "$mirror" "$mirror" >"$work/sources.list"
    {
        echo 'APT::Install-Recommends "false";'
        apt-config dump | grep -E '^Acquire::(https?|Check-|ForceIPv|Retries)' || true
    } >"$work/apt.conf"
    # The host's keys: Debian's own and those its administrator added.
    cp -r /etc/apt/trusted.gpg.d "$work/keys"
    cp /usr/share/keyrings/debian-archive-*.gpg "$work/keys/"
    mmdebstrap --mode=root --variant="$variant" --include="$packages" --aptopt="$work/apt.conf" \
        --keyring="$work/keys" "$@" trixie "$directory" "$work/sources.list"
    rm -rf "$work"
}
