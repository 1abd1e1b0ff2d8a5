"""Would billing be right? Checks that look and never send usage."""
