#include "core/run/code_announcement.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

namespace tandem {
namespace {

struct ProcessObservers {
    std::mutex mutex;
    std::vector<std::shared_ptr<CodeObserver>> list;
};

// Never destroyed: kernels in static storage may end after it.
ProcessObservers& process_observers() {
    static auto* const observers = new ProcessObservers;
    return *observers;
}

}  // namespace

void add_code_observer(std::shared_ptr<CodeObserver> observer) {
    if (!observer) return;
    auto& [mutex, list] = process_observers();
    const std::lock_guard lock(mutex);
    if (std::ranges::find(list, observer) == list.end()) list.push_back(std::move(observer));
}

void remove_code_observer(const std::shared_ptr<CodeObserver>& observer) noexcept {
    auto& [mutex, list] = process_observers();
    const std::lock_guard lock(mutex);
    std::erase(list, observer);
}

CodeAnnouncement::CodeAnnouncement(const GeneratedCode& code, std::shared_ptr<CodeObserver> observer)
    : code_(code) {
    {
        auto& [mutex, list] = process_observers();
        const std::lock_guard lock(mutex);
        told_ = list;
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
