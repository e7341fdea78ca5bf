#!/bin/sh
# Init container: the pod's peer makes its keys on its own volume, once, and waits until it is signed in: until
# secret peerd-join has NAME.bundle (signed by the authority), or an operator has handed this pod alone a join token
# (of a peer that is a delegate), which would be good for whoever reads it. A pod that starts again asks nobody.
set -eu
state=/var/lib/peerd join=/join name=$(hostname)

[ -e "$state/identity.json" ] ||
    peerd init --state-dir "$state" --name "$name" --address "$name.peerd.${NAMESPACE:?}.svc:9101"

told=no
while [ ! -e "$state/bundle.json" ]; do
    if [ -s "$join/$name.bundle" ]; then
        peerd join --state-dir "$state" "$join/$name.bundle"
    else
        [ "$told" = yes ] || echo "waiting for $name.bundle in secret peerd-join. The request:" \
            "kubectl -n $NAMESPACE exec $name -c enrol -- cat $state/request.json > $name.json" \
            "Or with a token: kubectl -n $NAMESPACE exec -i $name -c enrol -- peerd join --state-dir $state --token -"
        told=yes
        sleep 5 # the kubelet brings a changed secret within a minute or so, and tells nobody
    fi
done
