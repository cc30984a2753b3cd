// The events of one generation, printed as they come and folded into a message.

#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "marsys/v1/content.pb.h"
#include "marsys/v1/response.pb.h"
#include "marsys/v1/stream.pb.h"

// One generation, fed event by event.
class Answer {
 public:
  Answer();

  // Takes the next event and prints what is new in it. Throws std::runtime_error where an event is
  // missing, or comes after the last.
  void feed(const marsys::v1::StreamEvent& event);

  // Whether the model has begun to write.
  bool begun() const { return !told_.empty(); }

  // The assistant's message, as far as its parts are complete.
  const marsys::v1::Message& message() const { return message_; }

  // Why the model stopped; nothing until the last event.
  std::optional<marsys::v1::FinishReason> finish_reason() const { return finish_reason_; }

  // The tools that the model wants called.
  std::vector<marsys::v1::ToolCallPart> tool_calls() const;

 private:
  void feed_delta(const marsys::v1::PartDelta& delta);
  void finish_part(const marsys::v1::PartFinished& finished);

  marsys::v1::Message message_;
  std::optional<marsys::v1::FinishReason> finish_reason_;
  std::int64_t next_ = 0;
  std::set<int> told_;  // parts of which deltas came
};
