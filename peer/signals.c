#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

struct signals {
    atomic_bool stop;
    signals_callback *callback;
    void *context;
    pthread_t thread;
};

static void fill(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    /* Under nohup it stays ignored; blocked, it would be kept for sigwait(). */
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(set, SIGHUP);
    sigaddset(set, SIGWINCH);
    sigaddset(set, SIGCONT);
    sigaddset(set, SIGUSR2); /* ends the thread */
}

void signals_block(void)
{
    sigset_t set;
    fill(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* the limit on the size of files is an error of the write, like a full disk */
}

static void *run(void *context)
{
    struct signals *signals = context;
    sigset_t set;
    fill(&set);
    for (;;) {
        int number;
        if (sigwait(&set, &number) != 0)
            continue;
        if (number == SIGUSR2 && atomic_load(&signals->stop))
            return NULL;
        if (number != SIGUSR2)
            signals->callback(signals->context, number);
    }
}

enum err signals_start(signals_callback *callback, void *context, struct signals **ret)
{
    struct signals *signals = calloc(1, sizeof *signals);
    if (!signals)
        return ERR_NOMEM;
    signals->callback = callback;
    signals->context = context;
    if (pthread_create(&signals->thread, NULL, run, signals) != 0) {
        free(signals);
        return ERR_NOMEM;
    }
    *ret = signals;
    return ERR_OK;
}

void signals_stop(struct signals *signals)
{
    if (!signals)
        return;
    atomic_store(&signals->stop, true);
    pthread_kill(signals->thread, SIGUSR2);
    pthread_join(signals->thread, NULL);
    free(signals);
}
