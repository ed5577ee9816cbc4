#include "test.h"

#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A folder "in" to stay in, beside "outside" with a file that must not be reached. */
static char top[] = "/tmp/enxame-test-XXXXXX";
static int top_fd = -1, in_fd = -1;

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *position)
{
    (void)status, (void)type, (void)position;
    return remove(path);
}

static void write_text(const char *name, const char *text)
{
    int fd = openat(top_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    memcpy(top + strlen(top) - 6, "XXXXXX", 6);
    assert_non_null(mkdtemp(top));
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(top_fd, "in", 0700), 0);
    assert_int_equal(mkdirat(top_fd, "outside", 0700), 0);
    in_fd = openat(top_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    write_text("outside/secret", "secret");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(in_fd);
    close(top_fd);
    return nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void a_name_opens_below_its_folder(void **state)
{
    (void)state;
    int fd, parent;
    assert_int_equal(files_make_parents(in_fd, "a/b/c.txt", &parent), ERR_OK);
    close(parent);
    assert_int_equal(files_open_beneath(in_fd, "a/b/c.txt", O_RDWR | O_CREAT | O_EXCL, 0600, &fd), ERR_OK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    assert_int_equal(faccessat(top_fd, "in/a/b/c.txt", F_OK, 0), 0);
    assert_int_equal(files_open_beneath(in_fd, "a/none", O_RDONLY, 0, &fd), ERR_NOT_FOUND);
    assert_int_equal(fd, -1);
    assert_int_equal(files_open_beneath(in_fd, "a/b/c.txt", O_RDWR | O_CREAT | O_EXCL, 0600, &fd), ERR_EXISTS);
}

static void parents_made_for_many_are_told_of(void **unused)
{
    (void)unused;
    bool made = false;
    int fd;
    assert_int_equal(files_make_parents_unsynced(in_fd, "p/q/x", &fd, &made), ERR_OK);
    assert_true(made);
    close(fd);
    made = false;
    assert_int_equal(files_make_parents_unsynced(in_fd, "p/q/y", &fd, &made), ERR_OK);
    assert_false(made);
    close(fd);
    assert_int_equal(files_make_parents_unsynced(in_fd, "p/../z/y", &fd, &made), ERR_INVALID);
    made = true; /* of an earlier call */
    assert_int_equal(files_make_parents_unsynced(in_fd, "p/q/y", &fd, &made), ERR_OK);
    assert_true(made);
    close(fd);
}

static void a_new_name_never_replaces(void **unused)
{
    (void)unused;
    assert_int_equal(files_write_atomically(in_fd, "from", "from", 4, 0600), ERR_OK);
    assert_int_equal(files_write_atomically(in_fd, "taken", "taken", 5, 0600), ERR_OK);
    assert_int_equal(files_rename_new(in_fd, "from", in_fd, "taken"), ERR_EXISTS);
    assert_int_equal(files_rename_new(in_fd, "from", in_fd, "free"), ERR_OK);
    assert_int_equal(files_rename_new(in_fd, "from", in_fd, "free2"), ERR_NOT_FOUND);
    char *bytes;
    size_t length;
    assert_int_equal(files_read(in_fd, "free", 100, &bytes, &length), ERR_OK);
    assert_string_equal(bytes, "from");
    free(bytes);
    assert_int_equal(files_read(in_fd, "taken", 100, &bytes, &length), ERR_OK);
    assert_string_equal(bytes, "taken");
    free(bytes);
}

static void no_link_leads_out(void **state)
{
    (void)state;
    int fd;
    assert_int_equal(symlinkat("../outside", in_fd, "folder"), 0);
    assert_int_equal(symlinkat("../outside/secret", in_fd, "file"), 0);
    assert_int_equal(symlinkat("/etc/passwd", in_fd, "absolute"), 0);
    assert_int_equal(symlinkat("loop", in_fd, "loop"), 0);
    const char *const bad[] = {"folder/secret", "file", "absolute", "loop", "../outside/secret", "/etc/passwd"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(files_open_beneath(in_fd, bad[i], O_RDONLY, 0, &fd), ERR_DENIED);
    assert_int_equal(files_open_beneath(in_fd, "folder/new", O_WRONLY | O_CREAT, 0600, &fd), ERR_DENIED);
    assert_int_equal(faccessat(top_fd, "outside/new", F_OK, 0), -1);
}

/* Makes openat2 unknown to this thread, as in old kernels and some containers. */
static bool forbid_openat2(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void *open_without_openat2(void *ret_fault)
{
    const char **fault = ret_fault;
    int fd;
    if (!forbid_openat2()) {
        *fault = "no seccomp";
        return NULL;
    }
    const char *const bad[] = {"folder/secret", "file", "../outside/secret", "/etc/passwd"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (files_open_beneath(in_fd, bad[i], O_RDONLY, 0, &fd) == ERR_OK)
            *fault = bad[i];
    if (files_open_beneath(in_fd, "a/b/new", O_WRONLY | O_CREAT, 0600, &fd) != ERR_OK)
        *fault = "a/b/new";
    else
        close(fd);
    return NULL;
}

static void no_link_leads_out_on_old_kernels(void **state)
{
    (void)state;
    const char *fault = NULL;
    pthread_t thread;
    int fd;
    assert_int_equal(symlinkat("../outside", in_fd, "folder"), 0);
    assert_int_equal(symlinkat("../outside/secret", in_fd, "file"), 0);
    assert_int_equal(files_make_parents(in_fd, "a/b/new", &fd), ERR_OK);
    close(fd);
    assert_int_equal(pthread_create(&thread, NULL, open_without_openat2, &fault), 0);
    pthread_join(thread, NULL);
    if (fault)
        fail_msg("%s", fault);
}

static void parents_are_not_made_outside(void **state)
{
    (void)state;
    int fd;
    assert_int_equal(symlinkat("../outside", in_fd, "folder"), 0);
    write_text("in/plain", "x");
    assert_int_not_equal(files_make_parents(in_fd, "folder/deep/x", &fd), ERR_OK);
    assert_int_equal(fd, -1);
    assert_int_equal(faccessat(top_fd, "outside/deep", F_OK, 0), -1);
    assert_int_equal(files_make_parents(in_fd, "plain/x", &fd), ERR_EXISTS);
    assert_int_equal(files_make_parents(in_fd, "../x/y", &fd), ERR_INVALID);
    assert_int_equal(files_make_parents(in_fd, "x", &fd), ERR_OK);
    close(fd);
}

static void folders_are_made_with_all_above(void **state)
{
    (void)state;
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "%s/x//y/z/", top);
    assert_int_equal(files_make_folder(path), ERR_OK);
    assert_int_equal(files_make_folder(path), ERR_OK);
    assert_true(stat(path, &status) == 0 && S_ISDIR(status.st_mode));
    snprintf(path, sizeof path, "%s/outside/secret", top);
    assert_int_equal(files_make_folder(path), ERR_EXISTS);
    snprintf(path, sizeof path, "%s/outside/secret/below", top);
    assert_int_not_equal(files_make_folder(path), ERR_OK);
}

static size_t count_entries(const char *name)
{
    size_t count = 0;
    int fd = openat(top_fd, name, O_RDONLY | O_DIRECTORY);
    DIR *folder = fdopendir(fd);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    closedir(folder);
    return count;
}

static void a_file_is_replaced_whole(void **state)
{
    (void)state;
    char *bytes;
    size_t length;
    struct stat status;
    assert_int_equal(files_write_atomically(in_fd, "f", "old", 3, 0600), ERR_OK);
    assert_int_equal(files_write_atomically(in_fd, "f", "new\0er", 6, 0600), ERR_OK);
    assert_int_equal(files_write_atomically(top_fd, "in/g", "", 0, 0600), ERR_OK);
    assert_int_equal(files_read(in_fd, "f", 6, &bytes, &length), ERR_OK);
    assert_int_equal(length, 6);
    assert_memory_equal(bytes, "new\0er", 7);
    free(bytes);
    assert_true(fstatat(in_fd, "f", &status, 0) == 0 && (status.st_mode & 0777) == 0600);
    assert_int_equal(count_entries("in"), 2);
}

static void a_failed_write_leaves_the_old(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(in_fd, "folder", 0700), 0);
    assert_int_equal(files_write_atomically(in_fd, "folder", "x", 1, 0600), ERR_INVALID);
    assert_int_equal(files_write_atomically(in_fd, "none/f", "x", 1, 0600), ERR_NOT_FOUND);
    assert_int_equal(count_entries("in"), 1);
}

static void reading_stops_at_the_maximum(void **state)
{
    (void)state;
    char *bytes;
    size_t length;
    char *large = calloc(1, 100000);
    assert_non_null(large);
    assert_int_equal(files_write_atomically(in_fd, "f", large, 100000, 0600), ERR_OK);
    free(large);
    assert_int_equal(files_read(in_fd, "f", 99999, &bytes, &length), ERR_TOO_LARGE);
    assert_null(bytes);
    assert_int_equal(files_read(in_fd, "f", 100000, &bytes, &length), ERR_OK);
    assert_int_equal(length, 100000);
    free(bytes);
    assert_int_equal(files_read(in_fd, "none", 10, &bytes, &length), ERR_NOT_FOUND);
    assert_int_equal(files_read(top_fd, "in", 10, &bytes, &length), ERR_INVALID);
}

static void reading_past_the_end_is_a_changed_file(void **state)
{
    (void)state;
    char bytes[8] = "";
    int fd = openat(in_fd, "f", O_RDWR | O_CREAT, 0600);
    assert_int_equal(files_write_at(fd, "hello", 5, 3), ERR_OK);
    assert_int_equal(files_read_at(fd, bytes, 8, 0), ERR_OK);
    assert_memory_equal(bytes, "\0\0\0hello", 8);
    assert_int_equal(files_read_at(fd, bytes, 8, 1), ERR_CHANGED);
    assert_int_equal(files_read_at(fd, bytes, 0, 100), ERR_OK);
    close(fd);
    fd = openat(in_fd, "f", O_RDONLY);
    assert_int_equal(files_write_at(fd, "x", 1, 0), ERR_IO);
    close(fd);
    fd = open("/dev/full", O_WRONLY);
    if (fd >= 0) {
        assert_int_equal(files_write_at(fd, "x", 1, 0), ERR_NOSPACE);
        close(fd);
    }
}

static void a_lock_holds_until_it_is_closed(void **state)
{
    (void)state;
    int first, second;
    assert_int_equal(files_lock(in_fd, "lock", &first), ERR_OK);
    assert_int_equal(files_lock(in_fd, "lock", &second), ERR_LOCKED);
    assert_int_equal(second, -1);
    close(first);
    assert_int_equal(files_lock(in_fd, "lock", &second), ERR_OK);
    close(second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_name_opens_below_its_folder),          TEST(no_link_leads_out),
        TEST(no_link_leads_out_on_old_kernels),       TEST(parents_are_not_made_outside),
        TEST(folders_are_made_with_all_above),        TEST(a_file_is_replaced_whole),
        TEST(a_failed_write_leaves_the_old),          TEST(reading_stops_at_the_maximum),
        TEST(parents_made_for_many_are_told_of),      TEST(a_new_name_never_replaces),
        TEST(reading_past_the_end_is_a_changed_file), TEST(a_lock_holds_until_it_is_closed),
    };
    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
