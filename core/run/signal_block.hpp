// SignalBlock: for threads that are no business of the application's signal handlers.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace tandem {

/// Blocks the signals that the kernel may deliver to any thread, for as long as this lives. Threads created
/// meanwhile inherit that, so an application's handlers stay on its own threads. Faults go to the thread
/// that caused them and stay deliverable.
class SignalBlock {
public:
    SignalBlock() noexcept {
        sigset_t blocked;
        sigfillset(&blocked);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
            sigdelset(&blocked, fault);
        }
        pthread_sigmask(SIG_SETMASK, &blocked, &before_);
    }
    ~SignalBlock() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalBlock(const SignalBlock&) = delete;
    SignalBlock& operator=(const SignalBlock&) = delete;

private:
    sigset_t before_;
};

}  // namespace tandem
