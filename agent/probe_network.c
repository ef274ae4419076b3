/* Attempts to reach anything beyond the sandbox. */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_alg.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const int unreachable[] = {EPERM,        EACCES,      ENOSYS,       ENETUNREACH,
                                  EHOSTUNREACH, ENETDOWN,    EAFNOSUPPORT, EPROTONOSUPPORT,
                                  ENODEV,       EADDRNOTAVAIL, ESOCKTNOSUPPORT, 0};
/* On the sandbox's own loopback nobody listens: that is as good. */
static const int nobody_there[] = {ECONNREFUSED, EPERM, EACCES, EADDRNOTAVAIL, EAFNOSUPPORT,
                                   ENETUNREACH, 0};

static socklen_t address_of(const char *host, int port, struct sockaddr_storage *address) {
    struct sockaddr_in *four = (void *)address;
    struct sockaddr_in6 *six = (void *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)port);
        return sizeof *four;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1) _exit(64);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((uint16_t)port);
    return sizeof *six;
}

struct target { const char *name, *host; int port, type; };

static long reach(const void *context) {
    const struct target *target = context;
    struct sockaddr_storage address;
    socklen_t size = address_of(target->host, target->port, &address);
    int fd = socket(address.ss_family, target->type, 0), on = 1;
    if (fd < 0) return -1;
    if (target->type == SOCK_STREAM) return connect(fd, (struct sockaddr *)&address, size);
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    return (long)sendto(fd, "probe", 5, 0, (struct sockaddr *)&address, size);
}

static long ping_out(const void *host) {
    static const unsigned char echo_request[8] = {8, 0, 0xf7, 0xff, 0, 0, 0, 0};
    struct sockaddr_storage address;
    socklen_t size = address_of(host, 0, &address);
    int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    if (fd < 0) return -1;
    return (long)sendto(fd, echo_request, sizeof echo_request, 0, (struct sockaddr *)&address, size);
}

static int egress(int argc, char **argv) {
    static const struct target targets[] = {
        {"tcp", "1.1.1.1", 80, SOCK_STREAM},
        {"udp", "1.1.1.1", 4242, SOCK_DGRAM},
        {"dns-udp", "8.8.8.8", 53, SOCK_DGRAM},
        {"dns-tcp", "8.8.8.8", 53, SOCK_STREAM},
        {"metadata", "169.254.169.254", 80, SOCK_STREAM},
        {"metadata-ipv6", "fd00:ec2::254", 80, SOCK_STREAM},
        {"link-local", "169.254.1.1", 80, SOCK_STREAM},
        {"private-10", "10.0.0.1", 22, SOCK_STREAM},
        {"private-172", "172.17.0.1", 2375, SOCK_STREAM},
        {"private-192", "192.168.0.1", 80, SOCK_STREAM},
        {"broadcast", "255.255.255.255", 67, SOCK_DGRAM},
        {"multicast", "224.0.0.251", 5353, SOCK_DGRAM},
        {"tcp-ipv6", "2606:4700:4700::1111", 80, SOCK_STREAM},
        {"udp-ipv6", "2001:4860:4860::8888", 53, SOCK_DGRAM},
        {"mapped-ipv6", "::ffff:1.1.1.1", 80, SOCK_STREAM},
        {"multicast-ipv6", "ff02::1", 5353, SOCK_DGRAM},
    };
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        attempt_for(targets[i].name, reach, &targets[i], unreachable);
    attempt_for("ping", ping_out, "1.1.1.1", unreachable);
    for (int i = 1; i + 1 < argc; i += 2) {
        struct target host = {argv[i], argv[i], atoi(argv[i + 1]), SOCK_STREAM};
        char name[128];
        snprintf(name, sizeof name, "host-%s-%s", argv[i], argv[i + 1]);
        int own = strncmp(argv[i], "127.", 4) == 0 || strcmp(argv[i], "::1") == 0;
        attempt_for(name, reach, &host, own ? nobody_there : unreachable);
    }
    return end_of_attempts();
}

/* Socket families and their use -------------------------------------------------------------------- */

struct kind { const char *name; int family, type, protocol; };

static long open_socket(const void *context) {
    const struct kind *kind = context;
    return socket(kind->family, kind->type, kind->protocol);
}

static long use_algorithm(const void *unused) {
    struct sockaddr_alg hash = {.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha1"};
    int fd = socket(AF_ALG, SOCK_SEQPACKET, 0);
    (void)unused;
    return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&hash, sizeof hash);
}

static long dial_host(const void *cid) {
    struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = *(const unsigned *)cid,
                               .svm_port = 1024};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&host, sizeof host);
}

/* Adding an address, as `ip link add` would: needs CAP_NET_ADMIN over this network namespace. */
static long configure(const void *unused) {
    struct ifreq request = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a2a2a2a)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    (void)unused;
    if (fd < 0) return -1;
    memcpy(request.ifr_name, "lo", 3);
    memcpy(&request.ifr_addr, &address, sizeof address);
    return ioctl(fd, SIOCSIFADDR, &request);
}

static int sockets(int argc, char **argv) {
    static const struct kind kinds[] = {
        {"raw-icmp", AF_INET, SOCK_RAW, IPPROTO_ICMP},
        {"raw-tcp", AF_INET, SOCK_RAW, IPPROTO_TCP},
        {"raw-ip", AF_INET, SOCK_RAW, IPPROTO_RAW},
        {"raw-ipv6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6},
        {"packet-raw", AF_PACKET, SOCK_RAW, 0x0300},
        {"packet-datagram", AF_PACKET, SOCK_DGRAM, 0x0300},
        {"netlink-netfilter", AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER},
        {"netlink-audit", AF_NETLINK, SOCK_RAW, NETLINK_AUDIT},
        {"netlink-kobject", AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT},
        {"netlink-generic", AF_NETLINK, SOCK_RAW, NETLINK_GENERIC},
        {"netlink-crypto", AF_NETLINK, SOCK_RAW, NETLINK_CRYPTO},
        {"netlink-xfrm", AF_NETLINK, SOCK_RAW, NETLINK_XFRM},
        {"netlink-diag", AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG},
        {"key", AF_KEY, SOCK_RAW, 2},
        {"tipc", 30, SOCK_SEQPACKET, 0},
        {"can", 29, SOCK_RAW, 1},
        {"bluetooth", 31, SOCK_RAW, 1},
        {"rds", 21, SOCK_SEQPACKET, 0},
        {"xdp", 44, SOCK_RAW, 0},
        {"smc", 43, SOCK_STREAM, 0},
        {"kcm", 41, SOCK_DGRAM, 0},
        {"qipcrtr", 42, SOCK_DGRAM, 0},
        {"nfc", 39, SOCK_SEQPACKET, 0},
        {"appletalk", AF_APPLETALK, SOCK_DGRAM, 0},
        {"x25", AF_X25, SOCK_SEQPACKET, 0},
        {"llc", 26, SOCK_DGRAM, 0},
        {"pppox", 24, SOCK_STREAM, 0},
        {"sctp", AF_INET, SOCK_STREAM, 132},
        {"dccp", AF_INET, 6, 33},
    };
    static const unsigned hypervisor = 0, local = 1, host = 2;
    (void)argc, (void)argv;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        attempt_for(kinds[i].name, open_socket, &kinds[i], unreachable);
    attempt_for("algorithm", use_algorithm, NULL, unreachable);
    attempt_for("vsock-hypervisor", dial_host, &hypervisor, unreachable);
    attempt_for("vsock-local", dial_host, &local, unreachable);
    attempt_for("vsock-host", dial_host, &host, unreachable);
    attempt_for("set-address", configure, NULL, unreachable);
    return end_of_attempts();
}

static int loopback(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char byte = 0;
    (void)argc, (void)argv;
    int listener = socket(AF_INET, SOCK_STREAM, 0), caller = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || caller < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, size) < 0) fail("bind");
    if (listen(listener, 1) < 0) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0) fail("getsockname");
    if (connect(caller, (struct sockaddr *)&address, size) < 0) fail("connect");
    int connection = accept(listener, NULL, NULL);
    if (connection < 0 || write(caller, "x", 1) != 1 || read(connection, &byte, 1) != 1) fail("byte");
    say("loopback %s\n", byte == 'x' ? "ok" : "wrong");
    return 0;
}

/* One that is down leads nowhere, and to raise it is a right that nobody here has. */
static bool is_up(const char *name) {
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    bool up = ioctl(fd, SIOCGIFFLAGS, &request) < 0 || (request.ifr_flags & IFF_UP) != 0;
    close(fd);
    return up;
}

static int interfaces(int argc, char **argv) {
    (void)argc, (void)argv;
    struct if_nameindex *all = if_nameindex();
    if (!all) fail("if_nameindex");
    for (struct if_nameindex *one = all; one->if_index; one++)
        if (is_up(one->if_name)) say("%s\n", one->if_name);
    if_freenameindex(all);
    return 0;
}

/* Abstract UNIX sockets: names without a file, one space of them for each network namespace ------- */

static int abstract_socket(const char *name, struct sockaddr_un *address, socklen_t *size) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path + 1, name, sizeof address->sun_path - 2);
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int listen_abstract(int argc, char **argv) {
    struct sockaddr_un address;
    socklen_t size;
    (void)argc;
    int fd = abstract_socket(argv[1], &address, &size);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0) fail("bind");
    if (listen(fd, 8) < 0) fail("listen");
    say("listening\n");
    for (;;) close(accept(fd, NULL, NULL));
    return 0;
}

static long dial(const void *name) {
    struct sockaddr_un address;
    socklen_t size;
    int fd = abstract_socket(name, &address, &size);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, size);
}

static int dial_abstract(int argc, char **argv) {
    static const int refusals[] = {ECONNREFUSED, EPERM, EACCES, ENOSYS, 0};
    (void)argc;
    attempt_for("abstract-socket", dial, argv[1], refusals);
    return end_of_attempts();
}

const struct verb network_verbs[] = {
    {"egress", 0, egress},
    {"sockets", 0, sockets},
    {"loopback", 0, loopback},
    {"interfaces", 0, interfaces},
    {"listen-abstract", 1, listen_abstract},
    {"dial-abstract", 1, dial_abstract},
    {NULL, 0, NULL},
};
