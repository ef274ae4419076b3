/* System V IPC: memory that no process holds, and that an execution must not leave behind. */
#define _GNU_SOURCE
#include "agent.h"

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

enum { USERS_MOST = 16 };

static bool ipc_left(void)
{
    struct shm_info segments;
    struct seminfo semaphores;
    struct msginfo queues;
    union { struct seminfo *info; } all = {&semaphores};
    return (shmctl(0, SHM_INFO, (struct shmid_ds *)&segments) >= 0 && segments.used_ids > 0) ||
           (semctl(0, 0, SEM_INFO, all) >= 0 && semaphores.semusz > 0) ||
           (msgctl(0, MSG_INFO, (struct msqid_ds *)&queues) >= 0 && queues.msgpool > 0);
}

static void ipc_remove_all(void)
{
    struct shm_info segments;
    struct seminfo semaphores;
    struct msginfo queues;
    struct shmid_ds segment;
    struct semid_ds set;
    struct msqid_ds queue;
    union { struct seminfo *info; struct semid_ds *set; } argument = {&semaphores};
    for (int i = shmctl(0, SHM_INFO, (struct shmid_ds *)&segments); i >= 0; i--)
        shmctl(shmctl(i, SHM_STAT_ANY, &segment), IPC_RMID, NULL);
    int last = semctl(0, 0, SEM_INFO, argument);
    argument.set = &set;
    for (int i = last; i >= 0; i--)
        semctl(semctl(i, 0, SEM_STAT_ANY, argument), 0, IPC_RMID);
    for (int i = msgctl(0, MSG_INFO, (struct msqid_ds *)&queues); i >= 0; i--)
        msgctl(msgctl(i, MSG_STAT_ANY, &queue), IPC_RMID, NULL);
}

static void ipc_remove_as(uid_t user)
{
    pid_t helper = fork();
    if (helper == 0) {
        if (!can_change_user || (!setresgid(user, user, user) && !setresuid(user, user, user)))
            ipc_remove_all();
        _exit(0);
    }
    if (helper > 0)
        waitpid(helper, NULL, 0);
}

/* Once no program runs, nobody needs what programs shared. Only its owner may remove it, so it is
 * done as each of the users whose programs have run since the last time. */
void ipc_sweep(struct execution *execution)
{
    static uid_t users[USERS_MOST];
    static int count;
    int known = 0;
    while (known < count && users[known] != execution->user)
        known++;
    if (known == count && count < USERS_MOST)
        users[count++] = execution->user;
    for (int i = 0; i < SLOTS; i++)
        if (&executions[i] != execution && executions[i].state == RUNNING)
            return;
    if (getpid() == 1 && ipc_left())
        for (int i = 0; i < count; i++)
            ipc_remove_as(users[i]);
    count = 0;
}
