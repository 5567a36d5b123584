#!/usr/bin/env bash
# Makes sure that the named programs are here: installs their Debian packages as root, names them otherwise.
set -u
declare -A package=(
  [openssl]=openssl
  [ocsptool]=gnutls-bin
  [jarsigner]=default-jdk-headless
  [osslsigncode]=osslsigncode
  [postgres]=postgresql
  [promtool]=prometheus
  [prometheus]=prometheus
  [systemd-analyze]=systemd
  [wrk]=wrk
  [nginx]=nginx-light
  [varnishd]=varnish
  [apache2]=apache2-bin
  [haproxy]=haproxy
  [curl]=curl
  [vfychain]=libnss3-tools
  [gpgsm]=gpgsm
  [gpg-agent]=gpg-agent
  [dirmngr]=dirmngr
  [slapd]=slapd
  [tomcat10]=tomcat10
  [cfssl]=golang-cfssl
  [ab]=apache2-utils
  [chronyd]=chrony
  [faketime]=faketime
  [go]="golang-go golang-golang-x-mod-dev"
  [gcab]=gcab
  [wixl]=wixl
  [apksigner]=apksigner
  [named]=bind9
)

present() {
  command -v "$1" >/dev/null && return
  [ "$1" = tomcat10 ] && [ -e /usr/share/tomcat10/bin/bootstrap.jar ] && return
  [ "$1" = postgres ] && compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null
}

missing=()
for program in "$@"; do
  present "$program" || missing+=("${package[$program]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  # The tests start what they need; a package's own service would take its port.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
    trap 'rm -f $policy' EXIT
  fi
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends ${missing[*]}; } >/dev/null && exit 0
  echo "could not install: ${missing[*]}" >&2
fi
echo "missing programs; install these packages to run every test: ${missing[*]}" >&2
[ "${CI:-}" != true ]
