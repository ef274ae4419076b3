/* Target "put": an archive for a folder in which a learner has laid traps. Whatever the archive
 * says, nothing outside of the folder may change. */
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/mman.h>

static int no_complaints(int fd, const char *format, ...)
{
    (void)fd, (void)format;
    return 0;
}

static bool old_kernel; /* without openat2: paths are walked instead */

#define dprintf no_complaints
#define syscall(...) (old_kernel ? (errno = ENOSYS, -1) : syscall(__VA_ARGS__))
#include "../files.c"
#include "../files_put.c"
#include "../files_send.c"
#undef syscall
#undef dprintf

enum { NOBODY = 65534, INPUT_MOST = 8192 };

/* Relative to `place`, so that what is above may be closed to nobody. */
static char root[] = "root", outside[] = "outside", canary[] = "outside/canary", place[108];
static int input, first_free, place_fd, start_fd;

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts, (void)kind, (void)walk;
    return remove(path);
}

static void empty(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_place(void)
{
    empty(place);
}

static void make_outside(void)
{
    mkdir(outside, 0777);
    int fd = open(canary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    must(write(fd, "unchanged", 9) == 9, "no canary");
    close(fd);
}

static void lay_traps(void)
{
    char path[128];
    mkdir(root, 0777);
    snprintf(path, sizeof path, "%s/folder", root);
    mkdir(path, 0777);
    static const char *const links[][2] = {
        {"../outside", "out"}, {"../outside/canary", "file"}, {"/", "top"},
        {"folder", "in"}, {"loop", "loop"}, {"../../outside", "folder/up"},
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, "%s/%s", root, links[i][1]);
        (void)!symlink(links[i][0], path);
    }
    snprintf(path, sizeof path, "%s/pipe", root);
    mkfifo(path, 0666);
    snprintf(path, sizeof path, "%s/same", root);
    (void)!link(canary, path);
}

/* The fuzzer's own files are the user's; what it tries out is done as nobody. */
int LLVMFuzzerInitialize(int *count, char ***values)
{
    (void)count, (void)values;
    make_folder(place, sizeof place);
    chmod(place, 0777);
    atexit(remove_place);
    place_fd = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    start_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    input = memfd_create("input", MFD_CLOEXEC);
    dup2(input, 0);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, 1);
    umask(0);
    first_free = fcntl(0, F_DUPFD_CLOEXEC, 200);
    close(first_free);
    return 0;
}

static void check_outside(void)
{
    char text[16] = "";
    struct stat facts;
    int fd = open(canary, O_RDONLY | O_CLOEXEC), entries = 0;
    must(fd >= 0 && read(fd, text, sizeof text) == 9 && !memcmp(text, "unchanged", 9),
         "a file outside was changed");
    must(fstat(fd, &facts) == 0 && (facts.st_mode & 07777) == 0666, "its rights were changed");
    close(fd);
    DIR *folder = opendir(outside);
    while (readdir(folder))
        entries++;
    closedir(folder);
    must(entries == 3, "files were made outside");
}

static void try_out(const uint8_t *data, size_t size)
{
    must(ftruncate(input, 0) == 0 && pwrite(input, data, size, 0) == (ssize_t)size, "no input");
    lseek(0, 0, SEEK_SET);
    int before = setfsuid(NOBODY);
    make_outside();
    lay_traps();
    int here = fcntl(0, F_DUPFD_CLOEXEC, 3);
    complaints = 0;
    files_put((char *[]){"put", root}, 2);
    files_list((char *[]){"list", root, (char[]){"."}, "5", "50"}, 5);
    files_get((char *[]){"get", root, (char[]){"."}, "100000"}, 4);
    check_outside();
    close_range((unsigned)here, (unsigned)first_free, 0); /* what the end of a process would close */
    empty(root);
    setfsuid((uid_t)before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size = size < INPUT_MOST ? size : INPUT_MOST;
    must(fchdir(place_fd) == 0, "no way to its folder");
    old_kernel = false;
    try_out(data, size);
    old_kernel = true;
    try_out(data, size);
    must(fchdir(start_fd) == 0, "no way back"); /* the fuzzer's paths may be relative */
    return 0;
}
