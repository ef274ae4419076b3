"""What the agent knows of a slot, where no test of whole sandboxes can wait at the right place."""

from __future__ import annotations

import subprocess
from pathlib import Path

AGENT = Path(__file__).parents[3] / "agent"
LEARNS = r"""
#define _GNU_SOURCE
#include "agent.h"
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void close_fd(int *fd) { if (*fd >= 0) close(*fd); *fd = -1; }
uint64_t now_ns(void) { return 0; }
bool walk_finds_none(struct execution *e) { (void)e; return true; }
bool walk_kill_all(struct execution *e) { (void)e; return true; }
void walk_kill(struct execution *e) { (void)e; }
uint64_t walk_cpu(struct execution *e) { (void)e; return 0; }

/* The number of a keeper comes, which has ended and was waited for, or has not. */
static int learnt(bool ended)
{
    int ends[2];
    struct slot slot = {0};
    (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    pid_t keeper = fork();
    if (keeper == 0)
        for (;;) pause();
    if (ended) {
        kill(keeper, SIGKILL);
        waitpid(keeper, NULL, 0);
    }
    slot.keeper_fd = ends[0];
    slot_learn_keeper(&slot);
    bool waits = slot.keeper == 0 && slot.keeper_fd == ends[0];
    (void)!write(ends[1], &keeper, sizeof keeper);
    slot_learn_keeper(&slot);
    kill(keeper, SIGKILL);
    return waits && (ended ? slot.keeper == 0 && slot.keeper_fd < 0 : slot.keeper == keeper);
}

int main(void) { return printf("%d %d\n", learnt(false), learnt(true)) < 0; }
"""


def test_a_keeper_that_has_ended_before_its_number_came_is_none(tmp_path: Path) -> None:
    (tmp_path / "learns.c").write_text(LEARNS)
    subprocess.run(
        ["gcc", "-std=c11", f"-I{AGENT}", "-o", "learns", "learns.c", f"{AGENT}/group.c"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    assert subprocess.check_output([tmp_path / "learns"]) == b"1 1\n"
