"""The studio: storyboards as cards in a page of the browser. `longtake studio` opens it."""
