#!/bin/sh
# Process 1 of a lab host: a user-mode Linux kernel whose root is this machine's own root, read-only.
# Kernel arguments lab_*: name, address, role (server|client), control (folder on the real machine), lease (seconds).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home LANG=C.UTF-8
export TMPDIR=/run/tmp PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
for word in $(cat /proc/cmdline); do
  case $word in lab_*=*) eval "$word" ;; esac
done
for folder in /run /mnt /var/tmp /var/lib/nfs; do mount -t tmpfs tmpfs $folder; done
mkdir -p /run/control /run/tmp /run/home /run/rpcbind /run/sendsigs.omit.d
mount -t hostfs none /run/control -o "$lab_control"
exec > "/run/control/$lab_name.log" 2>&1

# Modules lie under /usr/lib/uml; the real machine need not have a /lib/modules.
mkdir -p /run/kernel/lib/modules
ln -s "/usr/lib/uml/modules/$(uname -r)" "/run/kernel/lib/modules/$(uname -r)"
printf '#!/bin/sh\nexec modprobe -d /run/kernel "$@"\n' > /run/load-module
chmod 755 /run/load-module
echo /run/load-module > /proc/sys/kernel/modprobe

cd /var/lib/nfs && mkdir -p sm sm.bak rpc_pipefs nfsdcltrack nfsdcld v4recovery && touch etab rmtab state
cd /
hostname "$lab_name"
ip link set lo up
ip addr add "$lab_address/24" dev eth0
ip link set eth0 up
rpcbind -w || rpcbind
/run/load-module lockd nlm_grace_period=3 nlm_timeout=3
rpc.statd --no-notify

serve() {
  mkdir -p /mnt/export
  mount -t tmpfs -o size=96m tmpfs /mnt/export
  chmod 1777 /mnt/export
  /run/load-module nfsd
  mount -t nfsd nfsd /proc/fs/nfsd
  # Before the server starts, else the first lock waits for the default grace period of 90 s.
  echo "${lab_lease:-10}" > /proc/fs/nfsd/nfsv4leasetime
  echo "${lab_lease:-10}" > /proc/fs/nfsd/nfsv4gracetime
  exportfs -i -o rw,sync,no_subtree_check,fsid=0,no_root_squash,insecure "*:/mnt/export"
  rpc.mountd
  nfsdcld
  rpc.nfsd 8
  echo Y > /proc/fs/nfsd/v4_end_grace
}
case $lab_role in
  server) serve ;;
  client) for module in nfs nfsv4 nfsv3; do /run/load-module $module; done ;;
esac
echo ready > "/run/control/$lab_name.ready"

# Commands come as files <host>.<n>.command and run side by side; each answers with .output, then .status.
number=0
while :; do
  job="/run/control/$lab_name.$number"
  if [ -e "$job.command" ]; then
    (
      sh "$job.command" > "$job.output" 2>&1 < /dev/null
      echo $? > "$job.status.part"
      mv "$job.status.part" "$job.status"
    ) &
    number=$((number + 1))
  else
    sleep 0.02
  fi
done
