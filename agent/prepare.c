/* What is done before a request comes: keepers in the groups, and a process that waits. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint64_t MILLISECOND = 1000000ull;

/* ---- keepers ---- */

/* One that was dismissed may not have ended yet. */
static bool keeper_serves(struct slot *slot)
{
    slot_learn_keeper(slot);
    return slot->keeper > 0 && slot->keeper_fd >= 0;
}

static bool keeper_start(struct slot *slot)
{
    int ends[2];
    if (slot->keeper > 0)
        return keeper_serves(slot);
    if (!slot_open(slot) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    slot->keeper = fork();
    if (slot->keeper == 0)
        keeper_run(ends[1], slot);
    close(ends[1]);
    if (slot->keeper < 0) {
        slot->keeper = 0;
        close(ends[0]);
        return false;
    }
    slot->keeper_fd = ends[0];
    return true;
}

void keeper_ended(struct slot *slot)
{
    slot->keeper = 0;
    slot->keeper_died = now_ns();
    close_fd(&slot->keeper_fd);
    if (slot->stale && !slot->taken)
        slot_renew(slot);
}

/* Hands the descriptors over; what the keeper makes of them waits at their other ends. */
static bool keeper_ask(struct slot *slot, const int given[GIVEN])
{
    char byte = 0, space[CMSG_SPACE(sizeof(int) * GIVEN)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * GIVEN);
    memcpy(CMSG_DATA(head), given, sizeof(int) * GIVEN);
    bool asked = sendmsg(slot->keeper_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
    if (!asked && errno == EPIPE) /* it ended before its number was known */
        keeper_ended(slot);
    return asked;
}

/* A slot whose keeper is there costs nothing more; so does the lowest of the others, over time. */
static struct slot *free_slot(bool with_keeper)
{
    struct slot *stale = NULL;
    for (int i = 0; i < SLOTS; i++) {
        if (slots[i].taken || keeper_serves(&slots[i]) != with_keeper)
            continue;
        if (!slots[i].stale)
            return &slots[i];
        stale = stale ? stale : &slots[i];
    }
    return stale;
}

/* That of an interpreter that waits is as good as idle: it serves, or goes and leaves its slot. */
static int idle_keepers(void)
{
    int count = in_state(WAITING) != NULL;
    for (int i = 0; i < SLOTS; i++)
        count += !slots[i].taken && !slots[i].stale && keeper_serves(&slots[i]);
    return count;
}

/* Their slots are renewed when they have ended. */
static void dismiss_stale_keepers(void)
{
    for (int i = 0; i < SLOTS; i++) {
        if (slots[i].taken || !slots[i].stale)
            continue;
        close_fd(&slots[i].keeper_fd);
        if (slots[i].keeper == 0)
            slot_renew(&slots[i]);
    }
}

/* Once something has run, one keeper is wanted beside that of the prepared process, while nothing
 * runs: so that the next program but one finds its own, too. (Most sandboxes that have a lease for
 * one program only never need it.) More of them, from when more programs ran at once, go: each takes
 * one of the processes that the learners may have. */
int keepers_wanted(void)
{
    int idle = idle_keepers(), reserve = executions_highest() > 0;
    if (!groups_found() || (idle < reserve && !free_slot(false)))
        return 0;
    return reserve - idle;
}

bool keepers_adjust(uint64_t now)
{
    int wanted = keepers_wanted();
    dismiss_stale_keepers();
    struct slot *slot = free_slot(false);
    for (int i = SLOTS - 1; i >= 0 && wanted < 0; i--) {
        if (!slots[i].taken && keeper_serves(&slots[i])) {
            close_fd(&slots[i].keeper_fd); /* it ends when it sees this */
            wanted++;
        }
    }
    if (wanted <= 0)
        return true;
    if (slot->keeper_died && now - slot->keeper_died < 100 * MILLISECOND)
        return false;
    return keeper_start(slot);
}

/* ---- the prepared process ---- */

struct execution *in_state(enum state state)
{
    for (int i = 0; i < SLOTS; i++)
        if (executions[i].state == state)
            return &executions[i];
    return NULL;
}

static bool make_pipes(struct execution *e, int theirs[GIVEN])
{
    int control[2] = {-1, -1}, pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    bool made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0;
    for (int i = 0; i < 3; i++)
        made = made && pipe2(pipes[i], O_CLOEXEC) == 0;
    int ours[3] = {pipes[0][1], pipes[1][0], pipes[2][0]};
    theirs[0] = control[1];
    theirs[1] = pipes[0][0];
    theirs[2] = pipes[1][1];
    theirs[3] = pipes[2][1];
    e->control = control[0];
    e->stdin_fd = ours[0];
    e->out[0] = ours[1];
    e->out[1] = ours[2];
    for (int i = 0; made && i < 3; i++) /* O_NONBLOCK belongs to our end only */
        fcntl(ours[i], F_SETFL, O_NONBLOCK);
    return made;
}

/* By a fork of our own that has to join the groups: slower, but no limit of processes in the groups
 * refuses it. It leaves a keeper in the slot that has none, if more is to come after its program. */
static bool make_by_fork(struct execution *e, const int given[GIVEN])
{
    struct slot *slot = e->slot;
    int ends[2] = {-1, NO_KEEPER};
    if (groups_found() && slot->keeper == 0 && slot->keeper_fd < 0 &&
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0)
        slot->keeper_fd = ends[0];
    e->pid = fork();
    if (e->pid == 0)
        child_run(slot, given, ends[1]);
    close_fd(&ends[1]);
    return e->pid > 0;
}

/* `ask`: the slot's keeper, if it has one. */
static bool prepare(bool ask)
{
    int theirs[GIVEN] = {-1, -1, -1, -1};
    struct execution *e = in_state(FREE);
    struct slot *slot = free_slot(true);
    if (!slot)
        slot = free_slot(false);
    if (!e || !slot)
        return false;
    e->slot = slot;
    slot->taken = true;
    bool made = slot_open(slot) && make_pipes(e, theirs) &&
                (ask && keeper_serves(slot) ? keeper_ask(slot, theirs) : make_by_fork(e, theirs));
    for (int i = 0; i < GIVEN; i++)
        close_fd(&theirs[i]);
    if (made)
        e->state = PREPARED;
    else
        forget(e);
    return made;
}

/* The first thing that a keeper's process says is its number. False when there is none to come:
 * the process could not be made, or was killed before it said a word. */
static bool learn_pid(struct execution *e, int milliseconds)
{
    struct pollfd ready = {.fd = e->control, .events = POLLIN};
    pid_t pid;
    if (e->pid || poll(&ready, 1, milliseconds) == 0)
        return true;
    if (recv(e->control, &pid, sizeof pid, MSG_DONTWAIT) != (ssize_t)sizeof pid)
        return false;
    e->pid = pid;
    return true;
}

bool execution_prepare(void)
{
    struct execution *e = in_state(PREPARED);
    if (e && learn_pid(e, 0))
        return true;
    if (e)
        forget(e);
    return (!e && prepare(true)) || prepare(false);
}

/* A process that is there, for a request that is there. */
struct execution *prepared_now(void)
{
    execution_prepare();
    struct execution *e = in_state(PREPARED);
    if (e && (!learn_pid(e, 1) || !e->pid)) {
        forget(e);
        e = prepare(false) ? in_state(PREPARED) : NULL;
    }
    return e;
}

/* A root's kill(-1) reaches it as well, and who was killed may not have ended yet: it would take the
 * next request along. (A keeper doesn't: what it has not made is noticed.) */
void dismiss_prepared(void)
{
    struct execution *e = in_state(PREPARED);
    if (e)
        forget(e);
}
