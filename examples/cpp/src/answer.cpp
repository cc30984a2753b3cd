#include "answer.h"

#include <iostream>
#include <stdexcept>
#include <string>

using namespace marsys::v1;

Answer::Answer() { message_.set_role(ROLE_ASSISTANT); }

void Answer::feed(const StreamEvent& event) {
  if (event.sequence() != next_ || finish_reason_) {
    throw std::runtime_error("event " + std::to_string(event.sequence()) + " came where " +
                             std::to_string(next_) + " was due");
  }
  ++next_;
  switch (event.event_case()) {
    case StreamEvent::kPartDelta:
      feed_delta(event.part_delta());
      break;
    case StreamEvent::kPartFinished:
      finish_part(event.part_finished());
      break;
    case StreamEvent::kWarningRaised:
      std::cout << "warning: " << event.warning_raised().warning().message() << std::endl;
      break;
    case StreamEvent::kFinished:
      finish_reason_ = event.finished().finish_reason();
      break;
    default:  // attempts and usage, and events of later versions
      break;
  }
}

std::vector<ToolCallPart> Answer::tool_calls() const {
  std::vector<ToolCallPart> calls;
  for (const auto& part : message_.parts()) {
    if (part.has_tool_call()) calls.push_back(part.tool_call());
  }
  return calls;
}

void Answer::feed_delta(const PartDelta& delta) {
  told_.insert(delta.part_index());
  // Those that are not set are empty.
  std::cout << delta.text() << delta.reasoning() << delta.arguments_json() << delta.refusal()
            << std::flush;
}

void Answer::finish_part(const PartFinished& finished) {
  // The finished part is whole: what must be sent back unchanged is in it. Deltas may be missing.
  const int index = finished.part_index();
  while (message_.parts_size() <= index) message_.add_parts();
  *message_.mutable_parts(index) = finished.part();
  if (told_.count(index) == 0) std::cout << finished.part().text().text();
  std::cout << std::endl;
}
