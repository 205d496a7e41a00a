#include "core/run/code_announcement.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/plan/as_result.hpp"
#include "core/plan/eternal.hpp"
#include "core/plan/fork_hook.hpp"

namespace tandem {
namespace {

struct ProcessObservers {
    template <class Each>
    void for_each_mutex(Each each) {
        each(mutex);
    }
    std::mutex mutex{};
    std::vector<std::shared_ptr<CodeObserver>> list{};
    HeldOverFork<ProcessObservers> held_over_fork{*this};
};

constinit Eternal<ProcessObservers> process_observers;  // null: there never was one

}  // namespace

Status add_code_observer(std::shared_ptr<CodeObserver> observer) noexcept try {
    if (!observer) return {};
    ProcessObservers& process = process_observers.get([] { return ProcessObservers(); });
    const std::lock_guard lock(process.mutex);
    if (std::ranges::find(process.list, observer) == process.list.end())
        process.list.push_back(std::move(observer));
    return {};
} catch (...) {
    return caught_error();
}

void remove_code_observer(const std::shared_ptr<CodeObserver>& observer) noexcept {
    ProcessObservers* const process = process_observers.find();
    if (!process) return;
    std::shared_ptr<CodeObserver> removed;  // ends behind the lock
    const std::lock_guard lock(process->mutex);
    const auto at = std::ranges::find(process->list, observer);
    if (at == process->list.end()) return;
    removed = std::move(*at);
    process->list.erase(at);
}

CodeAnnouncement::CodeAnnouncement(const GeneratedCode& code, std::shared_ptr<CodeObserver> observer)
    : code_(code) {
    if (ProcessObservers* const process = process_observers.find()) {
        const std::lock_guard lock(process->mutex);
        told_ = process->list;
    }
    if (observer && std::ranges::find(told_, observer) == told_.end()) told_.push_back(std::move(observer));
    for (const auto& each : told_)
        each->created(code_);
}

CodeAnnouncement::~CodeAnnouncement() { release(); }

CodeAnnouncement& CodeAnnouncement::operator=(CodeAnnouncement&& other) noexcept {
    release();
    code_ = other.code_;
    told_ = std::exchange(other.told_, {});
    return *this;
}

void CodeAnnouncement::release() noexcept {
    for (const auto& observer : told_)
        observer->released(code_);
    told_.clear();
}

}  // namespace tandem
