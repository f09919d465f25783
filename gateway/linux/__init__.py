"""The edge to the kernel: TUN, UDP, netlink, processes, channels."""
