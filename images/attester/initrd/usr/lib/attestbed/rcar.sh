# Sourced by the attester: request, challenge, attestation, response; the key broker protocol of Trustee, version 0.4.0.

MOST_BYTES=1048576

# exchange RESOURCE FILE: 0 and the resource in FILE; 1 where the broker or what was found on the way there refuses; 2
# where there was no broker, or no answer. $reason says why.
exchange() {
  challenge || return
  attestation || return
  response "$1" "$2"
}

# ask PATH CURL-OPTION...: the answer's body in the file answer. After --next comes another request on the same connection,
# if the one before had an answer of 2xx. Cookies stay with the work directory.
ask() {
  path=$1; shift
  # Of the request before this one.
  rm -f answer
  cat >to-broker <<EOF
silent
max-time = 60
connect-timeout = 10
noproxy = "*"
proto = "=https"
tlsv1.2
insecure
pinnedpubkey = "sha256//${pin#sha256:}"
max-filesize = $MOST_BYTES
cookie = cookies
cookie-jar = cookies
output = answer
write-out = "%{http_code}\n"
fail-with-body
EOF
  codes=$(curl --fail-early --config to-broker --url "$broker/kbs/v0/$path" "$@")
  rc=$?
  # Of the last request that was made.
  status=${codes##*[!0-9]}
  case $rc in
    # CURLE_HTTP_RETURNED_ERROR: an answer all the same.
    0 | 22) ;;
    # CURLE_SSL_PINNEDPUBKEYNOTMATCH: somebody answers for the broker. Whoever that is learns nothing, and is not waited out.
    90) reason=not-the-broker; return 1 ;;
    63) reason=answer-too-large; return 1 ;;
    *) reason=curl-$rc; return 2 ;;
  esac
  case $status in
    200) ;;
    429 | 50?) reason=http-$status; return 2 ;;
    *) reason=http-$status; return 1 ;;
  esac
}

post() {
  ask "$1" --header 'Content-Type: application/json' --data-binary "@$2"
}

# Sets $nonce.
challenge() {
  rm -f cookies
  printf '{"extra-params":{},"tee":"%s","version":"0.4.0"}' "$tee" >request
  post auth request || return
  reason=bad-challenge
  nonce=$(jose fmt -j answer -g nonce -u-) || return 1
  case $nonce in '' | *[!A-Za-z0-9+/=]*) return 1 ;; esac
}

# JSON is written by hand, its members in order and without blanks: then it is its own canonical form (RFC 8785).
attestation() {
  reason=no-evidence
  jose jwk gen -i '{"kty":"EC","crv":"P-256"}' -o key || return 1
  read -r generated <key
  member x; x=$value
  member y
  key='{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"'$x'","y":"'$value'"}'
  runtime='"nonce":"'$nonce'","tee-pubkey":'$key
  additional=
  if [ -e $TPM ]; then
    tpm_evidence "$(digest_of "{$runtime}")" || return 1
    additional=$(cat tpm-evidence)
  fi
  add_statement
  additional=$(echo "$additional" | sed 's/"/\\"/g')
  report_of "$(digest_of '{"additional-evidence":"'"$additional"'",'"$runtime}")" report || return 1
  {
    printf '{'
    [ ! -e init-data ] || printf '"init-data":{"body":"%s","format":"toml"},' "$(json_text init-data)"
    printf '"runtime-data":{%s},"tee-evidence":{"additional_evidence":"%s","primary_evidence":' "$runtime" "$additional"
    printf '{"auxblob":"%s","outblob":"%s"' "$(base64_of report.aux)" "$(base64_of report)"
    [ $tee != tdx ] || member_of cc_eventlog $CC_LOG
    printf '}}}'
  } >evidence
}

# What is said of the root comes before the TPM's part: members in order.
add_statement() {
  [ -n "$statement" ] || return 0
  others=${additional#\{}
  additional='{"root":'$statement${others:+,}${others:-\}}
}

# response RESOURCE FILE: evidence is sent, and where it is taken the resource asked for, on one connection.
response() {
  ask attest --header 'Content-Type: application/json' --data-binary @evidence \
    --next --config to-broker --url "$broker/kbs/v0/resource/$1" || return
  open_answer "$2"
}

# further RESOURCE FILE: another one, after `response`, in the session that was attested by it.
further() {
  ask "resource/$1" || return
  open_answer "$2"
}

open_answer() {
  reason=bad-response
  jose jwe dec -i answer -k key -O opened || return 1
  set -- "$1" $(jose fmt -j opened -g credentialBlob -u- -U -g encryptedSecret -u- 2>/dev/null)
  if [ $# -gt 1 ]; then open_credential "$@"; else mv opened "$1"; fi
}

# open_credential FILE BLOB SECRET, both base64: the resource is encrypted under a key that only the TPM with this EK and AK
# gives out.
open_credential() {
  # The form of tpm2-tools: magic, version, TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET.
  {
    printf '\272\334\300\336\0\0\0\1'
    echo "$2" | base64 -d
    echo "${3-}" | base64 -d
  } >credential
  activate credential wrapping || { reason=not-activated; return 1; }
  wrapping=$(base64 -w 0 wrapping | tr +/ -_)
  printf '{"alg":"A256GCM","k":"%s","kty":"oct"}' "${wrapping%%=*}" >wrapping-key
  # Under its name there is a resource as a whole or nothing: some go by whether there is one.
  jose jwe dec -i opened -k wrapping-key -O unwrapped && mv unwrapped "$1"
}

# member NAME: sets $value, of the key that jose generated.
member() {
  value=${generated#*"\"$1\":\""}
  value=${value%%\"*}
}

# json_text FILE: its lines as they stand between the quotes of JSON. Of printable ASCII.
json_text() { sed 's/[\\"]/\\&/g; s/$/\\n/' "$1" | tr -d '\n'; }

# digest_of TEXT: SHA-384, which the broker takes where nothing else was agreed on.
digest_of() {
  digest=$(printf %s "$1" | sha384sum)
  echo "${digest%% *}"
}
